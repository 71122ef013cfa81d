use vouch_core::message::MAX_ENDORSE;

use super::*;

/// The first fetch of a replica that lacks these blobs.
fn begin_fetching(world: &mut RepairWorld, lacking: Vec<AssignedBlob>) -> RepairRequest {
    let request = world.idle_round();
    assert!(matches!(request, RepairRequest::Wait(_)));
    world.blobs.add(lacking);
    world.turns_ended = 0;
    assert!(matches!(world.begin(), RepairRequest::TakeTurn));
    world.handle(RepairInput::Turn)
}

#[test]
fn failed_fetches_are_retried_in_later_rounds_with_backoff() {
    let mut world = RepairWorld::new();
    let mut request = begin_fetching(&mut world, vec![blob(b"one", 1, NEVER), blob(b"two", 1, NEVER)]);
    for pause in [2, 4, 8, 16, 32, 64, 120, 120] {
        for _ in 0..2 {
            assert!(matches!(request, RepairRequest::Fetch(..)), "each blob is tried once per round: {request:?}");
            request = world.handle(RepairInput::Failed("no holder".into()));
        }
        assert_waits(request, seconds(pause));
        assert!(matches!(world.begin(), RepairRequest::TakeTurn));
        request = world.handle(RepairInput::Turn);
    }
    assert_eq!(world.blobs.progress(WALL).failed, 16);
    assert!(world.troubles()[0].contains("no holder"));
    // a round without failures resets the backoff
    for _ in 0..2 {
        request = world.handle(RepairInput::Fetched(BlobSource::Put));
    }
    assert_waits(request, seconds(300));
    world.blobs.add(vec![blob(b"three", 1, NEVER)]);
    let _ = world.begin();
    let _ = world.handle(RepairInput::Turn);
    assert_waits(world.handle(RepairInput::Failed("no holder".into())), seconds(2));
}

#[test]
fn a_list_timeout_fails_the_round_but_known_blobs_are_fetched() {
    let mut world = RepairWorld::new();
    world.blobs.add(vec![blob(b"one", 1, NEVER)]);
    let _ = world.begin();
    assert!(matches!(world.handle(RepairInput::NoPage), RepairRequest::TakeTurn));
    assert!(world.troubles()[0].contains("did not list within 30 s"));
    assert!(matches!(world.handle(RepairInput::Turn), RepairRequest::Fetch(..)));
    assert_waits(world.handle(RepairInput::Fetched(BlobSource::Put)), seconds(2));
}

#[test]
fn only_blobs_that_repair_obtained_are_endorsed() {
    let mut world = RepairWorld::new();
    let blobs = [b"a", b"b", b"c", b"d"].map(|bytes| blob(bytes, 0, NEVER));
    let mut request = begin_fetching(&mut world, blobs.to_vec());
    let mut endorsed = Vec::new();
    let ends = [
        RepairInput::Fetched(BlobSource::Put),
        RepairInput::Fetched(BlobSource::OwnDisk),
        RepairInput::Fetched(BlobSource::Others),
        RepairInput::Failed("no holder".into()),
    ];
    for end in ends {
        let RepairRequest::Fetch(_, blob) = &request else { panic!("{request:?}") };
        if matches!(end, RepairInput::Fetched(BlobSource::OwnDisk | BlobSource::Others)) {
            endorsed.push(blob.digest());
        }
        request = world.handle(end);
    }
    assert_eq!(world.endorsed, [endorsed]);
    assert!(world.events.iter().any(|event| matches!(event, Event::Adopted(1, 0))));
    let progress = world.blobs.progress(WALL);
    assert_eq!((progress.lacking, progress.fetched, progress.failed), (Some(1), 1, 1));
}

#[test]
fn many_blobs_are_endorsed_in_messages_of_a_bounded_size() {
    let first = blob(b"first", 0, NEVER);
    let many = (0..=MAX_ENDORSE).map(|number| {
        let mut blob = first.clone();
        blob.certificate.claim.receipt.digest = Digest::of(&number.to_le_bytes());
        blob
    });
    let mut world = RepairWorld::new();
    let mut request = begin_fetching(&mut world, many.collect());
    while matches!(request, RepairRequest::Fetch(..)) {
        request = world.handle(RepairInput::Fetched(BlobSource::Others));
    }
    assert_eq!(world.endorsed.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_ENDORSE, 1]);
}

#[test]
fn an_expired_blob_is_not_fetched_and_no_longer_counts_as_lacking() {
    let mut world = RepairWorld::new();
    let lacking = vec![blob(b"expired", 1, WALL), blob(b"later", 1, WALL + 1)];
    let request = begin_fetching(&mut world, lacking);
    assert!(matches!(request, RepairRequest::Fetch(_, blob) if blob.certificate.claim.receipt.expires_at > WALL));
    assert_eq!(world.blobs.progress(WALL).lacking, Some(1));
}

#[test]
fn lists_read_with_a_fast_clock_are_read_again_once_it_is_set_back() {
    let mut world = RepairWorld::new();
    let hour = 3600;
    let lacking = vec![blob(b"in force", 1, WALL + hour)];
    world.wall = WALL + 2 * hour;
    let request = begin_fetching(&mut world, lacking);
    let RepairRequest::SavePositions(positions) = request else { panic!("expected no fetch, got {request:?}") };
    assert_eq!(positions.skipped_until, WALL + hour);
    world.handle(RepairInput::Saved(positions));
    world.wall = WALL;
    let request = world.begin();
    assert!(matches!(request, RepairRequest::List { .. }), "{request:?}");
}

#[test]
fn positions_that_could_not_be_saved_are_saved_in_the_next_round() {
    let mut world = RepairWorld::new();
    let request = world.begin();
    assert!(matches!(world.read_empty_lists(request), RepairRequest::SavePositions(_)));
    assert_waits(world.handle(RepairInput::Failed("the disk".into())), seconds(300));
    assert_eq!(world.troubles(), ["the disk"]);
    assert!(matches!(world.begin(), RepairRequest::TakeTurn));
    assert!(matches!(world.handle(RepairInput::Turn), RepairRequest::SavePositions(_)));
}

#[test]
fn damaged_blobs_are_fetched_and_the_lists_are_read_for_those_without_a_certificate() {
    let mut world = RepairWorld::new();
    let _ = world.idle_round();
    let damaged = blob(b"damaged", 0, NEVER);
    assert!(matches!(world.handle(RepairInput::Elapsed), RepairRequest::FindDamaged));
    let found = RepairInput::Damaged { blobs: vec![damaged.clone()], orphans: BTreeSet::new() };
    assert!(matches!(world.handle(found), RepairRequest::TakeTurn));
    let request = world.handle(RepairInput::Turn);
    assert!(matches!(request, RepairRequest::Fetch(_, blob) if *blob == damaged));
    assert!(matches!(world.handle(RepairInput::Fetched(BlobSource::Others)), RepairRequest::Wait(_)));
    let _ = world.handle(RepairInput::Elapsed);
    let orphans = BTreeSet::from([Digest::of(b"orphan")]);
    let request = world.handle(RepairInput::Damaged { blobs: Vec::new(), orphans });
    assert!(matches!(request, RepairRequest::List { from, .. } if from == ListPosition::default()));
}
