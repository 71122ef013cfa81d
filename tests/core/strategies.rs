//! Proptest strategies for every encoded type.

use bytes::Bytes;
use proptest::array::{uniform16, uniform32};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vouch_core::MAX_SAFE_INTEGER;
use vouch_core::access::{AccessView, Authorisation, Grant, NO_LIMIT, Rules, TokenKey, Who};
use vouch_core::bls::{AggregateSignature, Possession, VoteKey, VoteSignature};
use vouch_core::bundle::{Bundle, BundleChain, BundleEpoch, BundleStart};
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::chain::EpochLink;
use vouch_core::committee::{CommitteeRecord, Lineage, Member, MemberName, Policy};
use vouch_core::digest::{ClusterId, CommitteeDigest, Digest, History};
use vouch_core::limits::MAX_BATCH;
use vouch_core::link::{Hello, LinkSignature, NodeKey, Role};
use vouch_core::log::{
    Block, BlockDigest, BlockHeader, Effect, EngineProposal, EngineSignature, EngineVote, EngineVoteType, Evidence,
    MAX_LOG_PATH, Op, OpId, OpProof, OpSignature, OpsDigest, SignedOp, StateDigest,
};
use vouch_core::merkle::{TreeHash, path_length};
use vouch_core::message::{
    ClusterMessage, Code, EpochsMessage, Failed, Holder, ListFilter, ListPage, ListPosition, ListSource, MAX_CHUNK,
    Message, Read, Stage, Stream,
};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::seal::MAX_SEALED;
use vouch_core::statement::{Handoff, LogHead, StatementId, StoredClaim};
use vouch_core::tree::{GROUP, MAX_PROOF, Parent};

fn bytes_of<const N: usize>() -> impl Strategy<Value = [u8; N]> + Clone {
    vec(any::<u8>(), N).prop_map(|bytes| bytes.try_into().unwrap())
}

fn safe_integer() -> impl Strategy<Value = u64> {
    prop_oneof![0..=MAX_SAFE_INTEGER, Just(0), Just(MAX_SAFE_INTEGER)]
}

fn digest() -> impl Strategy<Value = Digest> {
    uniform32(any::<u8>()).prop_map(Digest)
}

fn list_filter() -> impl Strategy<Value = ListFilter> {
    let member = (0..1000u16).prop_map(ListFilter::NotSignedBy);
    prop_oneof![Just(ListFilter::All), Just(ListFilter::NotFromAsker), member]
}

fn list_position() -> impl Strategy<Value = ListPosition> {
    (safe_integer(), safe_integer()).prop_map(|(list, after)| ListPosition { list, after })
}

pub(crate) fn receipt() -> impl Strategy<Value = Receipt> {
    (uniform16(any::<u8>()), digest(), safe_integer(), prop_oneof![safe_integer(), Just(NEVER)])
        .prop_map(|(salt, digest, length, expires_at)| Receipt { salt, digest, length, expires_at })
}

fn name() -> impl Strategy<Value = MemberName> {
    // no character of the Unicode categories C: stricter than the rule
    "\\PC{1,12}".prop_filter_map("too long", |text| MemberName::new(&text).ok())
}

fn member() -> impl Strategy<Value = Member> {
    (uniform32(any::<u8>()), bytes_of(), name()).prop_map(|(node_key, vote_key, name)| Member {
        node_key: NodeKey(node_key),
        vote_key: VoteKey(vote_key),
        name,
    })
}

pub(crate) fn committee() -> impl Strategy<Value = CommitteeRecord> {
    (uniform16(any::<u8>()), vec(member(), 1..12))
        .prop_filter_map("a key repeated", |(nonce, members)| CommitteeRecord::genesis(nonce, members).ok())
}

pub(crate) fn signed_op() -> impl Strategy<Value = SignedOp> {
    let op = (any::<u16>(), uniform16(any::<u8>()), safe_integer(), vec(any::<u8>(), 0..40));
    (op, uniform32(any::<u8>()), bytes_of()).prop_map(|((kind, nonce, expires_at, body), submitter, signature)| {
        SignedOp {
            op: Op::new(kind, nonce, expires_at, body).unwrap(),
            submitter: NodeKey(submitter),
            signature: OpSignature(signature),
        }
    })
}

fn height() -> impl Strategy<Value = u64> {
    prop_oneof![1..=MAX_SAFE_INTEGER, 1..=9u64]
}

/// A header for these ops.
fn header(count: u32, ops: OpsDigest) -> impl Strategy<Value = BlockHeader> {
    let numbers = (safe_integer(), height(), safe_integer());
    (numbers, vec(uniform32(any::<u8>()), 6)).prop_map(move |((epoch, height, time), hashes)| BlockHeader {
        cluster: ClusterId(hashes[0]),
        epoch,
        height,
        parent: BlockDigest(hashes[1]),
        author: NodeKey(hashes[2]),
        time,
        log_root: TreeHash(hashes[3]),
        count,
        ops,
        results: TreeHash(hashes[4]),
        state: StateDigest(hashes[5]),
    })
}

pub(crate) fn block() -> impl Strategy<Value = Block> {
    vec(signed_op(), 1..6).prop_flat_map(|ops| {
        header(ops.len().try_into().unwrap(), OpsDigest::of(&ops))
            .prop_map(move |header| Block::new(header, ops.clone()).unwrap())
    })
}

pub(crate) fn op_proof() -> impl Strategy<Value = OpProof> {
    let hashes = |count| vec(uniform32(any::<u8>()).prop_map(TreeHash), count);
    (1..=512u32)
        .prop_flat_map(|count| (Just(count), 0..count))
        .prop_flat_map(move |(count, index)| {
            let paths = (hashes(path_length(index, count)..path_length(index, count) + 1), hashes(0..54));
            (header(count, OpsDigest([0; 32])), Just(index), signed_op(), vec(any::<u8>(), 0..40), paths)
        })
        .prop_map(|(block, index, SignedOp { op, submitter, .. }, effect, (result_path, block_path))| OpProof {
            block,
            index,
            submitter,
            op,
            effect: Effect::new(effect).unwrap(),
            result_path,
            block_path,
        })
}

pub(crate) fn evidence() -> impl Strategy<Value = Evidence> {
    let message = || (proptest::option::of(0..u32::MAX), uniform32(any::<u8>()), bytes_of());
    let place = (uniform32(any::<u8>()), safe_integer(), uniform32(any::<u8>()), height(), any::<u32>(), 0..3u8);
    (place, [message(), message()]).prop_map(|((cluster, epoch, member, height, round, what), both)| {
        let (cluster, member) = (ClusterId(cluster), NodeKey(member));
        let proposals = both.map(|(valid_round, block, signature)| {
            (EngineProposal { height, round, valid_round, block: BlockDigest(block) }, EngineSignature(signature))
        });
        let votes = |vote_type| {
            proposals.map(|(EngineProposal { block, .. }, signature)| {
                (EngineVote { vote_type, height, round, block: Some(block) }, signature)
            })
        };
        match what {
            0 => Evidence::of_proposals(cluster, epoch, member, proposals),
            1 => Evidence::of_votes(cluster, epoch, member, votes(EngineVoteType::Prevote)),
            _ => Evidence::of_votes(cluster, epoch, member, votes(EngineVoteType::Precommit)),
        }
        .unwrap()
    })
}

fn place() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![1..=MAX_BATCH, 1..=9u32].prop_flat_map(|count| (Just(count), 0..count))
}

fn signers() -> impl Strategy<Value = Signers> {
    prop_oneof![1..=1000u16, 1..=17u16]
        .prop_flat_map(|n| (Just(n), vec(0..n, 1..20)))
        .prop_map(|(n, members)| Signers::new(n, members).unwrap())
}

pub(crate) fn certificate() -> impl Strategy<Value = Certificate> {
    let ends = (safe_integer(), safe_integer(), uniform32(any::<u8>()), bytes_of());
    let path = place().prop_flat_map(|(count, index)| {
        (Just(count), Just(index), vec(uniform32(any::<u8>()).prop_map(TreeHash), path_length(index, count)))
    });
    (ends, path, receipt(), signers()).prop_map(|((epoch, issued_at, digest, signature), path, receipt, signers)| {
        let (count, index, path) = path;
        let (committee, signature) = (CommitteeDigest(digest), AggregateSignature(signature));
        let claim = StoredClaim { issued_at, count, index, receipt, path };
        Certificate { epoch, committee, claim, signers, signature }
    })
}

pub(crate) fn bundle() -> impl Strategy<Value = Bundle> {
    let pops = vec(bytes_of().prop_map(Possession), 0..4);
    let bytes = || vec(any::<u8>(), 0..300);
    let identity = || bytes_of().prop_map(StatementId);
    let start = (bytes(), pops, option::of(identity())).prop_map(|(committee, possessions, handed_by)| BundleStart {
        committee,
        possessions,
        handed_by,
    });
    let epochs = vec((bytes(), bytes(), identity()), 0..3);
    (bytes(), start, epochs, option::of(bytes())).prop_map(|(certificate, start, epochs, sealed)| {
        let epoch = |(place, (handoff, committee, seal))| {
            // Epoch 1 has no seal to name.
            let seal = (place > 0 || start.handed_by.is_some()).then_some(seal);
            BundleEpoch { handoff, committee, seal }
        };
        let epochs = epochs.into_iter().enumerate().map(epoch).collect();
        Bundle { certificate, chain: BundleChain { start, epochs }, sealed }
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    let role = prop_oneof![Just(Role::Client), Just(Role::Replica), Just(Role::Server)];
    let bytes = || uniform32(any::<u8>());
    (role, proptest::option::of(bytes()), safe_integer(), bytes(), bytes()).prop_map(
        |(role, cluster, epoch, node_key, nonce)| Hello {
            epoch,
            // zero encodes "no cluster"
            ..Hello::new(role, cluster.filter(|c| *c != [0; 32]).map(ClusterId), NodeKey(node_key), nonce)
        },
    )
}

fn stream() -> impl Strategy<Value = Stream> {
    (1..=u32::MAX).prop_map(Stream)
}

fn failed() -> impl Strategy<Value = Failed> {
    let code = prop_oneof![
        Just(Code::Malformed),
        Just(Code::NotEnoughReplicas),
        Just(Code::TimedOut),
        Just(Code::NotHeld),
        Just(Code::ShuttingDown),
        Just(Code::NewEpoch)
    ];
    (any::<u32>(), code, vec(any::<u16>(), 0..20), "\\PC{0,60}")
        .prop_map(|(stream, code, subjects, detail)| Failed::new(Stream(stream), code, detail).with_subjects(subjects))
}

fn cluster_message() -> impl Strategy<Value = ClusterMessage> {
    committee().prop_flat_map(|genesis| {
        let pops = vec(bytes_of().prop_map(Possession), genesis.members().len());
        (Just(genesis), pops).prop_map(|(genesis, possessions)| ClusterMessage { genesis, possessions })
    })
}

fn epochs_message() -> impl Strategy<Value = EpochsMessage> {
    let later = (1..100u64, bytes_of(), bytes_of(), bytes_of(), vec(member(), 1..6));
    let handoff = (safe_integer(), bytes_of(), height(), bytes_of(), signers(), bytes_of());
    let link = (later, handoff, proptest::option::of(bytes_of().prop_map(StatementId))).prop_filter_map(
        "a key repeated",
        |((epoch, cluster, previous, history, members), handoff, seal)| {
            let (cluster, previous, history) = match epoch {
                1 => (cluster, cluster, History::NONE),
                _ => (cluster, previous, History(history)),
            };
            let (cluster, previous) = (ClusterId(cluster), CommitteeDigest(previous));
            let lineage = Lineage { epoch, cluster, previous, history };
            let committee = CommitteeRecord::later(lineage, Policy::Open, members).ok()?;
            let (closing, next, height, log_root, signers, signature) = handoff;
            let claim = Handoff { closing, next: CommitteeDigest(next), height, log_root: TreeHash(log_root) };
            let signature = AggregateSignature(signature);
            let handoff = Certificate { epoch: epoch - 1, committee: previous, claim, signers, signature };
            Some(EpochLink { handoff, committee, seal })
        },
    );
    (any::<bool>(), link).prop_map(|(more, link)| EpochsMessage { more, links: vec![link] })
}

fn holders() -> impl Strategy<Value = Vec<Holder>> {
    proptest::collection::btree_map(0..1000u16, safe_integer(), 0..10)
        .prop_map(|holders| holders.into_iter().map(|(member, length)| Holder { member, length }).collect())
}

fn parents() -> impl Strategy<Value = Vec<Parent>> {
    let parent = (bytes_of::<32>(), bytes_of::<32>()).prop_map(|(left, right)| {
        let mut parent = [0; Parent::SIZE];
        parent[..32].copy_from_slice(&left);
        parent[32..].copy_from_slice(&right);
        Parent(parent)
    });
    vec(parent, 0..=MAX_PROOF)
}

/// A group boundary, where a read may start.
fn group() -> impl Strategy<Value = u64> {
    safe_integer().prop_map(|offset| offset / GROUP as u64 * GROUP as u64)
}

fn chunk() -> impl Strategy<Value = Bytes> {
    let sizes = prop_oneof![1..100usize, Just(MAX_CHUNK)];
    (sizes, any::<u8>()).prop_map(|(size, byte)| vec![byte; size].into())
}

/// Every kind of message.
fn authorisation() -> impl Strategy<Value = Option<Authorisation>> {
    let signed = (bytes_of(), safe_integer(), bytes_of());
    proptest::option::of(signed.prop_map(|(key, signed_at, signature)| Authorisation {
        key: TokenKey(key),
        signed_at,
        signature,
    }))
}

fn access_view() -> impl Strategy<Value = AccessView> {
    let who = || prop_oneof![Just(Who::Anyone), Just(Who::Tokens)];
    let limit = || prop_oneof![Just(NO_LIMIT), 1..=MAX_SAFE_INTEGER];
    let grant = (name(), limit(), limit(), limit(), limit())
        .prop_map(|(name, largest, rate, quota, expires_at)| Grant { name, largest, rate, quota, expires_at });
    let tokens = proptest::collection::btree_map(bytes_of::<32>().prop_map(TokenKey), grant, 0..4);
    (safe_integer(), who(), who(), tokens).prop_map(|(number, put, read, tokens)| AccessView {
        number,
        rules: Rules { put, read },
        tokens: tokens.into_iter().collect(),
    })
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    let stage = prop_oneof![Just(Stage::Receiving), Just(Stage::Stored), Just(Stage::Voted), Just(Stage::Dropped)];
    let read = (stream(), 0..1000u16, digest(), group(), 1..=262_144u32);
    let boxed = || certificate().prop_map(Box::new);
    let link = prop_oneof![
        hello().prop_map(Message::Hello),
        bytes_of().prop_map(|bytes| Message::Auth(LinkSignature(bytes))),
        cluster_message().prop_map(Message::Cluster),
        epochs_message().prop_map(Message::Epochs),
        failed().prop_map(Message::Failed),
        (bytes_of(), bytes_of(), name()).prop_map(|(key, pop, name)| Message::Join {
            vote_key: VoteKey(key),
            possession: Possession(pop),
            name
        }),
    ];
    let put =
        prop_oneof![
            (stream(), proptest::option::of(receipt()), any::<bool>(), authorisation())
                .prop_map(|(stream, offer, renew, authorisation)| Message::Put { stream, offer, renew, authorisation }),
            (stream(), safe_integer(), parents(), chunk())
                .prop_map(|(stream, offset, parents, bytes)| Message::Chunk { stream, offset, parents, bytes }),
            (stream(), receipt(), authorisation()).prop_map(|(stream, receipt, authorisation)| Message::PutEnd {
                stream,
                receipt,
                authorisation
            }),
            (stream(), any::<bool>()).prop_map(|(stream, keep)| Message::Cancel { stream, keep }),
            (stream(), 0..=MAX_SAFE_INTEGER).prop_map(|(stream, offset)| Message::Ready { stream, offset }),
            (stream(), 0..1000u16, stage).prop_map(|(stream, member, stage)| Message::Progress {
                stream,
                member,
                stage
            }),
            (stream(), boxed()).prop_map(|(stream, certificate)| Message::Certified { stream, certificate }),
            stream().prop_map(|stream| Message::Stored { stream }),
            (stream(), safe_integer(), vec(receipt(), 1..6))
                .prop_map(|(stream, issued_at, receipts)| Message::Propose { stream, issued_at, receipts }),
            (stream(), bytes_of())
                .prop_map(|(stream, signature)| Message::Vote { stream, signature: VoteSignature(signature) }),
            (stream(), certificate()).prop_map(|(stream, Certificate { signers, signature, .. })| Message::Archive {
                stream,
                signers,
                signature
            }),
            (stream(), receipt(), any::<bool>(), authorisation(), 0..100usize, any::<u8>()).prop_map(
                |(stream, receipt, renew, authorisation, size, byte)| Message::Blob {
                    stream,
                    receipt,
                    renew,
                    authorisation,
                    bytes: vec![byte; size].into(),
                }
            ),
        ];
    let repair = prop_oneof![
        (stream(), proptest::option::of(0..1000u16), list_position(), list_filter()).prop_map(
            |(stream, member, from, filter)| {
                let source = member.map_or(ListSource::Own, ListSource::Member);
                Message::List { stream, source, from, filter }
            }
        ),
        (stream(), list_position(), any::<bool>(), vec(certificate(), 0..4)).prop_map(
            |(stream, end, more, certificates)| Message::Listed { stream, page: ListPage { end, more, certificates } }
        ),
        (stream(), digest()).prop_map(|(stream, digest)| Message::FindCertificate { stream, digest }),
        (stream(), proptest::option::of(boxed()))
            .prop_map(|(stream, certificate)| Message::FoundCertificate { stream, certificate }),
        vec(certificate(), 0..4).prop_map(|certificates| Message::Missed { certificates }),
        vec(digest(), 1..5).prop_map(|digests| Message::Endorse { digests }),
    ];
    let get = prop_oneof![
        (stream(), digest(), authorisation()).prop_map(|(stream, digest, authorisation)| Message::Locate {
            stream,
            digest,
            authorisation
        }),
        (stream(), holders()).prop_map(|(stream, holders)| Message::Located { stream, holders }),
        read.prop_map(|(stream, member, digest, offset, length)| Message::Read(Read {
            stream,
            member,
            digest,
            offset,
            length
        })),
    ];
    prop_oneof![5 => link, 12 => put, 3 => get, 6 => repair, 8 => log_message()]
}

fn log_message() -> impl Strategy<Value = Message> {
    let hash = || bytes_of().prop_map(TreeHash);
    let head = (height(), bytes_of(), hash(), safe_integer()).prop_map(|(height, block, log_root, time)| LogHead {
        height,
        block: BlockDigest(block),
        log_root,
        time,
    });
    prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(|frame| Message::Peer(frame.into())),
        (stream(), signed_op()).prop_map(|(stream, signed)| Message::SubmitOp { stream, op: signed.op }),
        (stream(), height()).prop_map(|(stream, height)| Message::OpDecided { stream, height }),
        (safe_integer(), safe_integer()).prop_map(|(height, time)| Message::LogTip { height, time }),
        (stream(), height()).prop_map(|(stream, height)| Message::AskLogHead { stream, height }),
        (stream(), head, bytes_of()).prop_map(|(stream, head, signature)| Message::LogHead {
            stream,
            head,
            signature: VoteSignature(signature)
        }),
        (stream(), bytes_of(), height()).prop_map(|(stream, op, head)| Message::AskOpProof {
            stream,
            op: OpId(op),
            head
        }),
        (stream(), height(), height()).prop_map(|(stream, height, head)| Message::AskBlock { stream, height, head }),
        (stream(), op_proof()).prop_map(|(stream, proof)| Message::OpProof { stream, proof: Box::new(proof) }),
        (stream(), vec(hash(), 0..=MAX_LOG_PATH), block()).prop_map(|(stream, path, block)| Message::LogBlock {
            stream,
            path,
            block: Box::new(block)
        }),
        (stream(), safe_integer(), 0..=u32::try_from(MAX_SEALED).unwrap())
            .prop_map(|(stream, epoch, from)| Message::AskSeal { stream, epoch, from }),
        (stream(), 0..=u32::try_from(MAX_SEALED).unwrap(), vec(bytes_of().prop_map(StatementId), 0..9))
            .prop_map(|(stream, count, identities)| Message::SealPart { stream, count, identities }),
        vec(bytes_of().prop_map(NodeKey), 0..9).prop_map(|members| Message::NextMembers { members }),
        access_view().prop_map(|view| Message::Access(Box::new(view))),
    ]
}
