use vouch_core::log::Op;
use vouch_core::merkle::TreeHash;
use vouch_node_core::log::state_machine::{BlockContext, RestoreError, StateMachine};

use super::machine::{MAX_ACCOUNTS, MAX_BALANCE};
use super::*;

const DEPOSIT: Request = Request::Deposit { account: ACCOUNT, cents: HUNDRED_DOLLARS };
/// Accounts do not depend on the block.
const BLOCK: BlockContext = BlockContext { height: 1, time: TIME, log_root: TreeHash([0; 32]) };
const CHARGE: Request = Request::Charge { account: ACCOUNT, percent: 10 };

fn apply(accounts: &mut Accounts, request: Request) -> Reply {
    Reply::of(&accounts.apply(&BLOCK, &request.op([0; 16], TIME).unwrap())).unwrap()
}

/// All orders of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let with_last_at = |order: Vec<usize>| {
        (0..count).map(move |place| {
            let mut order = order.clone();
            order.insert(place, count - 1);
            order
        })
    };
    orders(count - 1).into_iter().flat_map(with_last_at).collect()
}

#[test]
fn the_balance_is_190_or_180_and_the_same_at_every_replica() {
    for proposer in 0..4 {
        for (deposit_first, expected) in [(true, 18_000), (false, 19_000)] {
            let mut cluster = Cluster::new().unwrap();
            let opening = cluster.submit(DEPOSIT, 0, 0).unwrap();
            assert_eq!(cluster.decide(proposer, &[opening]).unwrap(), [Reply::Balance(HUNDRED_DOLLARS)]);
            let mut ops = [cluster.submit(DEPOSIT, 1, 1).unwrap(), cluster.submit(CHARGE, 2, 2).unwrap()];
            if !deposit_first {
                ops.reverse();
            }
            let replies = cluster.decide(proposer, &ops).unwrap();
            assert_eq!(replies[1], Reply::Balance(expected));
            for state in &cluster.states {
                assert_eq!(state.machine().balance(ACCOUNT), Some(expected));
                assert_eq!(state.encode(), cluster.states[0].encode());
            }
        }
    }
}

#[test]
fn one_order_leads_to_one_state_however_it_is_cut_into_blocks() {
    let requests = [
        DEPOSIT,
        CHARGE,
        Request::Deposit { account: ACCOUNT, cents: 33 },
        Request::Charge { account: ACCOUNT, percent: 7 },
    ];
    let mut balances = Vec::new();
    for order in orders(requests.len()) {
        let mut by_hand = Accounts::default();
        let expected: Vec<_> = order.iter().map(|i| apply(&mut by_hand, requests[*i])).collect();
        balances.push(by_hand.balance(ACCOUNT));
        // A cut after each op whose bit is set.
        for cuts in 0..1 << (requests.len() - 1) {
            let mut cluster = Cluster::new().unwrap();
            let (mut block, mut replies) = (Vec::new(), Vec::new());
            for (place, i) in order.iter().enumerate() {
                block.push(cluster.submit(requests[*i], (*i).try_into().unwrap(), place % 4).unwrap());
                if cuts & 1 << place != 0 || place + 1 == order.len() {
                    replies.extend(cluster.decide(place % 4, &std::mem::take(&mut block)).unwrap());
                }
            }
            assert_eq!(replies, expected, "{order:?}");
            for state in &cluster.states {
                assert_eq!(state.machine(), &by_hand, "{order:?}");
            }
        }
    }
    balances.sort_unstable();
    balances.dedup();
    assert!(balances.len() > 2, "the order matters: {balances:?}");
}

#[test]
fn a_restored_machine_goes_on_as_the_original() {
    let mut accounts = Accounts::default();
    for step in 0..50u32 {
        let restored = Accounts::restore(&accounts.snapshot()).unwrap();
        assert_eq!(restored, accounts);
        let request = match step % 3 {
            2 => Request::Charge { account: step % 5, percent: 9 },
            _ => Request::Deposit { account: step % 7, cents: u64::from(step) * 101 },
        };
        assert_eq!(apply(&mut restored.clone(), request), apply(&mut accounts, request));
    }
}

#[test]
fn requests_that_cannot_be_done_change_nothing_and_say_so() {
    let mut accounts = Accounts::default();
    assert_eq!(apply(&mut accounts, CHARGE), Reply::NoAccount);
    let all = Request::Deposit { account: ACCOUNT, cents: MAX_BALANCE };
    assert_eq!(apply(&mut accounts, all), Reply::Balance(MAX_BALANCE));
    assert_eq!(apply(&mut accounts, Request::Deposit { account: ACCOUNT, cents: 1 }), Reply::Full);
    assert_eq!(apply(&mut accounts, all), Reply::Full);
    let before = accounts.clone();
    let bodies: [(u16, &[u8]); 6] =
        [(1, b""), (1, &[0; 11]), (1, &[0; 13]), (1, &[0xFF; 12]), (2, &[1, 0, 0, 0, 0]), (2, &[1, 0, 0, 0, 101])];
    for (kind, body) in bodies {
        let op = Op::new(kind, [0; 16], TIME, body.to_vec()).unwrap();
        assert_eq!(Reply::of(&accounts.apply(&BLOCK, &op)), Ok(Reply::Malformed), "{body:?}");
    }
    assert_eq!(accounts, before);
    assert!(accounts.knows(1) && accounts.knows(2) && !accounts.knows(0) && !accounts.knows(3));

    for account in (10..).take(MAX_ACCOUNTS - 1) {
        assert_eq!(apply(&mut accounts, Request::Deposit { account, cents: 5 }), Reply::Balance(5));
    }
    assert_eq!(apply(&mut accounts, Request::Deposit { account: 9, cents: 5 }), Reply::Full);
    assert_eq!(apply(&mut accounts, Request::Charge { account: 10, percent: 19 }), Reply::Balance(5));
    assert_eq!(apply(&mut accounts, Request::Charge { account: 10, percent: 100 }), Reply::Balance(0));
    assert!(Accounts::restore(&accounts.snapshot()).is_ok());
}

#[test]
fn only_a_canonical_snapshot_is_restored() {
    let entry = |account: u32, balance: u64| [&account.to_le_bytes()[..], &balance.to_le_bytes()].concat();
    let restore = |entries: &[Vec<u8>]| Accounts::restore(&entries.concat());
    assert!(restore(&[entry(1, 5), entry(2, 5)]).is_ok());
    for wrong in [[entry(2, 5), entry(1, 5)], [entry(1, 5), entry(1, 5)]] {
        assert!(matches!(restore(&wrong), Err(RestoreError::Rule { .. })));
    }
    assert!(restore(&[entry(1, MAX_BALANCE + 1)]).is_err());
    assert!(Accounts::restore(&entry(1, 5)[..11]).is_err());
    assert!(Accounts::restore(&vec![0; 12 * (MAX_ACCOUNTS + 1)]).is_err());
}
