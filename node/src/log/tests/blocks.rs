//! The store of decided blocks.

use redb::{ReadableTable, TableDefinition};
use vouch_core::seal::SealTree;
use vouch_core::statement::StatementId;

use super::super::block_store::{AppliedState, BlockStore, BlockStoreError, MAX_READ_BLOCKS};
use super::*;

fn open(disk: &SimulatedDisk, kept: u64) -> BlockStore {
    BlockStore::open_keeping(&host(disk), &Path::new(FOLDER).join("log.redb"), OWNER, false, kept).unwrap().0
}

#[test]
fn blocks_and_state_are_stored_together_and_read_back() {
    let disk = empty();
    let store = open(&disk, 100);
    assert_eq!((store.height(), store.applied().unwrap()), (0, None));
    store.commit(&[block(1), block(2)], &state(2)).unwrap();
    store.commit(&[block(3)], &state(3)).unwrap();
    drop(store);
    let store = open(&disk, 100);
    assert_eq!(store.height(), 3);
    assert_eq!(store.applied().unwrap(), Some(AppliedState { height: 3, state: state(3) }));
    assert_eq!(store.blocks(1, 10).unwrap(), [block(1), block(2), block(3)]);
    assert_eq!(store.blocks(2, 1).unwrap(), [block(2)]);
    assert_eq!(store.blocks(4, 10).unwrap(), []);
    assert_eq!(store.headers(2, 5).unwrap(), [block(2).block.header().clone(), block(3).block.header().clone()]);
    assert_eq!(store.digests(0, 9).unwrap(), [1, 2, 3].map(|height| block(height).block.digest()));
    assert_eq!(store.digests(u64::MAX, u64::MAX).unwrap(), []);
}

#[test]
fn heights_have_no_gap() {
    let store = open(&empty(), 100);
    let refused = |blocks: &[NewBlock]| match store.commit(blocks, b"state").unwrap_err() {
        BlockStoreError::NotNext { expected, got } => (expected, got),
        error => panic!("{error}"),
    };
    assert_eq!(refused(&[block(2)]), (1, 2));
    assert_eq!(refused(&[block(1), block(3)]), (2, 3));
    assert_eq!(store.digests(1, 9).unwrap(), [], "nothing was stored");
    store.commit(&[block(1)], &state(1)).unwrap();
    assert_eq!(refused(&[block(1)]), (2, 1));
    assert_eq!(store.applied().unwrap().unwrap().state, state(1));
}

#[test]
fn old_bodies_go_and_headers_stay() {
    let store = open(&empty(), 3);
    for height in 1..=5 {
        store.commit(&[block(height)], &state(height)).unwrap();
    }
    assert_eq!(store.blocks(1, 10).unwrap(), []);
    assert_eq!(store.blocks(2, 10).unwrap(), []);
    assert_eq!(store.blocks(3, 10).unwrap(), [block(3), block(4), block(5)]);
    assert_eq!(store.headers(1, 10).unwrap().len(), 5);
    assert_eq!(store.digests(1, 10).unwrap().len(), 5);
    // a catch-up stores more blocks than are kept
    let many: Vec<NewBlock> = (6..=20).map(block).collect();
    store.commit(&many, &state(20)).unwrap();
    assert_eq!(store.blocks(17, 1).unwrap(), []);
    assert_eq!(store.blocks(18, 10).unwrap().len(), 3);
    assert_eq!(store.headers(1, 100).unwrap().len(), 20);
}

#[test]
fn reads_are_bounded() {
    let store = open(&empty(), 1000);
    let many: Vec<NewBlock> = (1..=70).map(block).collect();
    store.commit(&many, &state(70)).unwrap();
    assert_eq!(store.blocks(1, u64::MAX).unwrap().len() as u64, MAX_READ_BLOCKS);
    let large = |height| NewBlock { effects: vec![1; 3 << 20], ..block(height) };
    store.commit(&[large(71), large(72)], &state(72)).unwrap();
    assert_eq!(store.blocks(71, 9).unwrap(), [large(71)], "two are more than 4 MiB");
}

#[test]
fn another_owner_is_refused() {
    let disk = empty();
    drop(open(&disk, 100));
    for owner in [LogOwner { cluster: ClusterId([9; 32]), ..OWNER }, LogOwner { node_key: NodeKey([9; 32]), ..OWNER }] {
        let opened = BlockStore::open(&host(&disk), &Path::new(FOLDER).join("log.redb"), owner, false);
        match opened.unwrap_err() {
            BlockStoreError::OtherOwner { expected, got, .. } => {
                assert_eq!((*expected, got.as_deref()), (owner, Some(&OWNER)));
            }
            error => panic!("{error}"),
        }
    }
}

/// Every single-byte change of every row of height 2 is found when it is read.
#[test]
fn changed_rows_are_damaged() {
    let store = open(&empty(), 100);
    store.commit(&[block(1), block(2)], &state(2)).unwrap();
    let intact = |row: Option<&str>| match (store.blocks(2, 1), store.applied()) {
        (Ok(blocks), Ok(applied)) => {
            assert_eq!((blocks, applied.unwrap().state), (vec![block(2)], state(2)));
            assert_eq!(row, None);
        }
        (Err(BlockStoreError::Damaged { row: got, height: 2, .. }), _) => assert_eq!(Some(got), row),
        (_, Err(BlockStoreError::Damaged { row: got, .. })) => assert_eq!(Some(got), row),
        other => panic!("{other:?}"),
    };
    intact(None);
    for (table, row) in [
        ("log_headers", "header"),
        ("log_bodies", "block"),
        ("log_effects", "effects"),
        ("log_certificates", "certificate"),
    ] {
        let table = TableDefinition::<u64, &[u8]>::new(table);
        let write = |bytes: &[u8]| {
            let change = |transaction: &redb::WriteTransaction| {
                let mut rows = transaction.open_table(table)?;
                let before = rows.get(2)?.map(|row| row.value().to_vec());
                rows.insert(2, bytes)?;
                Ok(before.unwrap())
            };
            store.database().commit_and_wait(change).unwrap()
        };
        let right = write(&[]);
        intact(Some(row));
        for position in 0..right.len() {
            let mut changed = right.clone();
            changed[position] ^= 1;
            write(&changed);
            intact(Some(row));
        }
        write(&right);
        intact(None);
    }
    let meta = TableDefinition::<&str, &[u8]>::new("log_meta");
    let length = 8 + 16 + state(2).len();
    for position in 0..length {
        let change = |transaction: &redb::WriteTransaction| {
            let mut rows = transaction.open_table(meta)?;
            let mut row = rows.get("state")?.unwrap().value().to_vec();
            row[position] ^= 1;
            rows.insert("state", &*row)?;
            Ok(())
        };
        store.database().commit_and_wait(change).unwrap();
        intact(Some("state"));
        store.database().commit_and_wait(change).unwrap();
    }
    intact(None);
}

#[test]
fn the_statements_of_seals_are_kept_for_ever_and_read_in_parts() {
    let disk = empty();
    let store = open(&disk, 1);
    let seal = |count: u32| {
        SealTree::new((0..count).map(|number| StatementId(*blake3::hash(&number.to_le_bytes()).as_bytes()))).unwrap()
    };
    let many = seal(9000);
    store.keep_seal(0, &many).unwrap();
    store.keep_seal(1, &seal(0)).unwrap();
    store.commit(&[block(1), block(2), block(3)], &state(3)).unwrap();
    drop(store);
    let store = open(&disk, 1);
    let part = |from: u32| store.seal_part(0, from).unwrap().unwrap();
    let (first, second) = (part(0), part(8192));
    assert_eq!((first.count, first.identities.len(), second.identities.len()), (9000, 8192, 808));
    assert_eq!([first.identities, second.identities].concat(), many.identities());
    assert_eq!((part(9000).identities.len(), part(u32::MAX).count), (0, 9000));
    assert_eq!(store.seal_part(1, 0).unwrap().map(|part| (part.count, part.identities)), Some((0, Vec::new())));
    assert_eq!(store.seal_part(2, 0).unwrap(), None);
    assert_eq!([0, 1, 2].map(|epoch| store.has_seal(epoch).unwrap()), [true, true, false]);
}

/// A damaged list counts as missing, so that it is fetched again.
#[test]
fn a_damaged_list_of_a_seal_is_not_there() {
    let store = open(&empty(), 1);
    let seal = SealTree::new([StatementId([1; 32]), StatementId([2; 32])]).unwrap();
    store.keep_seal(7, &seal).unwrap();
    let table = TableDefinition::<u64, &[u8]>::new("log_seals");
    let size = 16 + 64;
    for position in 0..size {
        let damage = |transaction: &redb::WriteTransaction| {
            let mut rows = transaction.open_table(table)?;
            let mut row = rows.get(7)?.unwrap().value().to_vec();
            assert_eq!(row.len(), size);
            row[position] ^= 1;
            rows.insert(7, &*row)?;
            Ok(())
        };
        store.database().commit_and_wait(damage).unwrap();
        assert!(matches!(store.seal_part(7, 0), Err(BlockStoreError::Damaged { row: "seal", height: 7, .. })));
        assert!(!store.has_seal(7).unwrap());
        store.keep_seal(7, &seal).unwrap();
        assert!(store.has_seal(7).unwrap());
    }
}
