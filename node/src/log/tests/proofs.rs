//! What the store proves, and what it does not.

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition};
use vouch_core::log::{Effect, OpId, OpResult, log_root_from_path, result_tree};
use vouch_core::statement::LogHead;

use super::super::block_store::{BlockStore, BlockStoreError, NewState};
use super::*;

/// Decided blocks whose headers commit to all that they should.
struct Chain {
    tree: LogTree,
    blocks: Vec<NewBlock>,
    heads: Vec<LogHead>,
}

impl Chain {
    fn new() -> Self {
        Self { tree: LogTree::new(), blocks: Vec::new(), heads: Vec::new() }
    }

    /// Appends a block of so many ops.
    fn append(&mut self, count: u32) {
        let height = self.tree.size() + 1;
        let key = NodeSecretKey::from_bytes(&[1; 32]);
        let ops: Vec<_> = (0..count)
            .map(|index| {
                let nonce = [&height.to_le_bytes()[..], &u64::from(index).to_le_bytes()].concat();
                let op = Op::new(0, nonce.try_into().unwrap(), 1_790_000_060, vec![7; 40]).unwrap();
                SignedOp::sign(op, &OWNER.cluster, &key)
            })
            .collect();
        let result = |(index, op): (usize, &SignedOp)| OpResult {
            op: op.op.id(&OWNER.cluster),
            submitter: op.submitter,
            effect: Effect::new(vec![1; index]).unwrap(),
        };
        let results: Vec<_> = ops.iter().enumerate().map(result).collect();
        let header = BlockHeader {
            height,
            parent: self.blocks.last().map_or(BlockDigest::GENESIS, |last| last.block.digest()),
            log_root: self.tree.root(),
            count,
            ops: OpsDigest::of(&ops),
            results: result_tree(&results).unwrap().root(),
            ..block(height).block.header().clone()
        };
        self.heads.push(LogHead::new(&header, &self.tree).unwrap());
        self.tree.append(&header.digest());
        let block = Block::new(header, ops).unwrap();
        self.blocks.push(NewBlock::new(block, &results, format!("certificate {height}").into()));
    }

    fn of(heights: u32) -> Self {
        let mut chain = Self::new();
        (0..heights).for_each(|height| chain.append(1 + height % 3));
        chain
    }

    fn op(&self, height: u64, index: usize) -> OpId {
        self.blocks[usize::try_from(height - 1).unwrap()].block.ops()[index].op.id(&OWNER.cluster)
    }

    fn head(&self, height: u64) -> LogHead {
        self.heads[usize::try_from(height - 1).unwrap()]
    }
}

fn open(kept: u64) -> BlockStore {
    BlockStore::open_keeping(&host(&empty()), &Path::new(FOLDER).join("log.redb"), OWNER, false, kept).unwrap().0
}

#[test]
fn every_op_and_block_is_proved_under_every_later_head() {
    let chain = Chain::of(40);
    let store = open(100);
    for blocks in chain.blocks.chunks(7) {
        store.commit(blocks, b"state").unwrap();
    }
    for head_height in 1..=40 {
        let head = chain.head(head_height);
        assert_eq!(store.head(head_height).unwrap(), Some(head));
        for height in 1..=head_height {
            let (block, path) = store.block_with_path(height, head_height).unwrap().unwrap();
            assert_eq!(block, chain.blocks[usize::try_from(height - 1).unwrap()].block);
            assert_eq!(log_root_from_path(&block.digest(), height, head_height, &path), Some(head.log_root));
            for index in 0..block.ops().len() {
                let op = chain.op(height, index);
                assert_eq!(store.find_op(op).unwrap(), Some((height, u32::try_from(index).unwrap())));
                let proof = store.op_proof(op, head_height).unwrap().unwrap();
                assert_eq!((proof.op.id(&OWNER.cluster), &proof.block_path), (op, &path));
                assert_eq!(proof.results_root(), Some(block.header().results));
                assert_eq!(proof.effect.bytes().len(), index);
            }
        }
        // A head below the block proves nothing about it.
        assert_eq!(store.block_with_path(head_height + 1, head_height).unwrap(), None);
        if head_height < 40 {
            assert_eq!(store.op_proof(chain.op(head_height + 1, 0), head_height).unwrap(), None);
        }
    }
    assert_eq!((store.head(0).unwrap(), store.head(41).unwrap(), store.head(u64::MAX).unwrap()), (None, None, None));
    assert_eq!(store.op_proof(chain.op(3, 0), 41).unwrap(), None);
    assert_eq!(store.find_op(OpId([9; 32])).unwrap(), None);
}

#[test]
fn what_is_not_kept_is_not_found_and_the_store_says_what_it_has() {
    let chain = Chain::of(20);
    let store = open(5);
    let heights = store.heights().unwrap();
    assert!(heights.headers.is_empty() && heights.blocks.is_empty());
    for blocks in chain.blocks.chunks(3) {
        store.commit(blocks, b"state").unwrap();
    }
    let heights = store.heights().unwrap();
    assert_eq!((heights.headers, heights.blocks), (1..=20, 16..=20));
    assert_eq!(store.find_op(chain.op(15, 0)).unwrap(), None);
    assert_eq!(store.op_proof(chain.op(15, 0), 20).unwrap(), None);
    assert_eq!(store.block_with_path(15, 20).unwrap(), None);
    assert_eq!(store.head(3).unwrap(), Some(chain.head(3)), "headers stay");
    assert!(store.op_proof(chain.op(16, 0), 20).unwrap().is_some());
    let ops = TableDefinition::<&[u8; 32], (u64, u32)>::new("log_ops");
    let rows = store.database().read(|transaction| Ok(transaction.open_table(ops)?.len()?));
    let kept = chain.blocks[15..].iter().map(|new| new.block.ops().len() as u64).sum::<u64>();
    assert_eq!(rows.unwrap(), kept, "the index goes with the bodies");
}

#[test]
fn after_a_state_was_installed_only_what_follows_is_proved() {
    let chain = Chain::of(40);
    for height in [1, 2, 3, 8, 21, 31, 32] {
        let store = open(100);
        let known = usize::try_from(height / 2).unwrap();
        store.commit(&chain.blocks[..known], b"state").unwrap();
        let last = usize::try_from(height).unwrap();
        let mut before = LogTree::new();
        chain.blocks[..last - 1].iter().for_each(|new| drop(before.append(&new.block.digest())));
        let header = chain.blocks[last - 1].block.header().clone();
        store.install(&NewState { header, before, state: b"installed".to_vec() }).unwrap();
        let heights = store.heights().unwrap();
        assert_eq!((heights.headers, heights.blocks.is_empty()), (height..=height, true));
        assert_eq!((store.height(), store.applied().unwrap().unwrap().state), (height, b"installed".to_vec()));
        assert_eq!(store.head(height).unwrap(), Some(chain.head(height)), "its own head can be signed");
        assert_eq!(store.find_op(chain.op(1, 0)).unwrap(), None);
        store.commit(&chain.blocks[last..], b"state").unwrap();
        for below in 1..=height {
            assert_eq!(store.block_with_path(below, 40).unwrap(), None);
            assert!(below == height || store.head(below).unwrap().is_none());
        }
        for above in height + 1..=40 {
            for head_height in above..=40 {
                assert_eq!(store.head(head_height).unwrap(), Some(chain.head(head_height)));
                assert!(
                    store.op_proof(chain.op(above, 0), head_height).unwrap().is_some(),
                    "{above} under {head_height}"
                );
            }
        }
    }
}

#[test]
fn only_a_later_state_with_its_own_tree_is_installed() {
    let chain = Chain::of(5);
    let store = open(100);
    store.commit(&chain.blocks[..3], b"state").unwrap();
    let state = |height: u64, size: usize| {
        let mut before = LogTree::new();
        chain.blocks[..size].iter().for_each(|new| drop(before.append(&new.block.digest())));
        let header = chain.blocks[usize::try_from(height - 1).unwrap()].block.header().clone();
        NewState { header, before, state: Vec::new() }
    };
    let refused = |height, size| store.install(&state(height, size)).unwrap_err();
    assert!(matches!(refused(3, 2), BlockStoreError::NotLater { height: 3, got: 3 }));
    assert!(matches!(refused(5, 3), BlockStoreError::OtherTree { height: 5, .. }));
    assert!(matches!(refused(5, 5), BlockStoreError::OtherTree { height: 5, .. }));
    assert_eq!(store.blocks(1, 9).unwrap(), chain.blocks[..3], "nothing changed");
    store.install(&state(5, 4)).unwrap();
    assert_eq!(store.height(), 5);
}

/// Nothing is proved, and no head is signed, from rows that are not those that were written.
#[test]
fn changed_rows_prove_nothing() {
    let chain = Chain::of(8);
    let store = open(100);
    store.commit(&chain.blocks, b"state").unwrap();
    let subtrees = TableDefinition::<(u8, u64), &[u8; 32]>::new("log_subtrees");
    let change = |level: u8, index: u64| {
        let change = |transaction: &redb::WriteTransaction| {
            let mut rows = transaction.open_table(subtrees)?;
            let mut root = *rows.get((level, index))?.unwrap().value();
            root[31] ^= 1;
            rows.insert((level, index), &root)?;
            Ok(())
        };
        store.database().commit_and_wait(change).unwrap();
    };
    let is_damaged = |error: BlockStoreError| matches!(error, BlockStoreError::Damaged { row: "log tree", .. });
    // The sibling of block 3, and the subtree of blocks 1 to 4 in the tree before block 6.
    change(0, 3);
    assert!(store.block_with_path(3, 8).is_err_and(is_damaged));
    change(0, 3);
    change(2, 0);
    assert!(store.head(6).is_err_and(is_damaged));
    assert!(store.op_proof(chain.op(6, 0), 6).is_err_and(is_damaged));
    change(2, 0);
    assert!(store.block_with_path(3, 8).unwrap().is_some());

    let remove = |transaction: &redb::WriteTransaction| {
        transaction.open_table(subtrees)?.remove((3, 0))?;
        Ok(())
    };
    store.database().commit_and_wait(remove).unwrap();
    let mut longer = Chain::of(8);
    longer.append(1);
    assert!(store.commit(&longer.blocks[8..], b"state").is_err_and(is_damaged), "the tree is not continued without it");

    let ops = TableDefinition::<&[u8; 32], (u64, u32)>::new("log_ops");
    let op = chain.op(3, 0);
    let point_elsewhere = |transaction: &redb::WriteTransaction| {
        transaction.open_table(ops)?.insert(&op.0, (2, 0))?;
        Ok(())
    };
    store.database().commit_and_wait(point_elsewhere).unwrap();
    let error = store.op_proof(op, 5).unwrap_err();
    assert!(matches!(error, BlockStoreError::Damaged { row: "place of an op", height: 2, .. }), "{error}");
}
