use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// So many milliseconds behind an arbitrary start.
fn after(start: Instant, milliseconds: u64) -> Moment {
    let passed = Duration::from_millis(milliseconds);
    let wall: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    Moment { at: start + passed, wall: wall + passed }
}

fn healthz(health: &Health, now: Moment) -> (bool, String) {
    let (is_good, report) = HealthReport::healthz(health, now);
    (is_good, serde_json::to_string(&report).unwrap())
}

fn livez(health: &Health, now: Moment) -> (bool, String) {
    let (is_good, report) = HealthReport::livez(health, now);
    (is_good, serde_json::to_string(&report).unwrap())
}

#[test]
fn it_is_alive_while_it_starts_and_eligible_when_the_node_is_known() {
    let start = Instant::now();
    let mut health = Health::new(LIMIT);
    let now = after(start, 0);
    assert_eq!(
        livez(&health, now),
        (
            true,
            r#"{"lastUpdated":"2026-03-01T12:00:00Z","currentTime":"2026-03-01T12:00:00Z","healthy":true}"#
                .to_owned()
        )
    );
    assert_eq!(
        healthz(&health, now),
        (
            false,
            concat!(
                r#"{"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"2026-03-01T12:00:00Z","#,
                r#""nodeEligible":false,"healthy":true}"#
            )
            .to_owned()
        )
    );
    health.set_eligible(true);
    assert!(healthz(&health, now).0);
}

#[test]
fn what_is_done_is_as_recent_as_the_question() {
    let start = Instant::now();
    let mut health = Health::new(LIMIT);
    health.set_eligible(true);
    health.queued(start);
    health.updated(after(start, 500));
    assert_eq!(
        healthz(&health, after(start, 9_000_250)),
        (
            true,
            concat!(
                r#"{"lastUpdated":"2026-03-01T14:30:00.25Z","currentTime":"2026-03-01T14:30:00.25Z","#,
                r#""nodeEligible":true,"healthy":true,"status":{"#,
                r#""IPv4":{"lastUpdated":"2026-03-01T12:00:00.5Z","healthy":true},"#,
                r#""IPv6":{"lastUpdated":"2026-03-01T12:00:00.5Z","healthy":true}}}"#
            )
            .to_owned()
        )
    );
}

#[test]
fn work_that_waits_too_long_is_unhealthy_until_it_is_done() {
    let start = Instant::now();
    let mut health = Health::new(LIMIT);
    health.set_eligible(true);
    health.updated(after(start, 0));
    health.queued(after(start, 1_000).at);
    // What comes later does not make what waits any younger.
    health.queued(after(start, 50_000).at);
    assert!(healthz(&health, after(start, 60_999)).0);
    assert_eq!(
        livez(&health, after(start, 61_000)),
        (
            false,
            concat!(
                r#"{"lastUpdated":"2026-03-01T12:00:00Z","currentTime":"2026-03-01T12:01:01Z","#,
                r#""healthy":false,"status":{"#,
                r#""IPv4":{"lastUpdated":"2026-03-01T12:00:00Z","healthy":false},"#,
                r#""IPv6":{"lastUpdated":"2026-03-01T12:00:00Z","healthy":false}}}"#
            )
            .to_owned()
        )
    );
    assert!(!healthz(&health, after(start, 61_000)).0);
    health.updated(after(start, 62_000));
    assert!(healthz(&health, after(start, 200_000)).0);
}

/// The kubelet would begin it all anew.
#[test]
fn who_has_much_to_do_is_alive_as_long_as_it_goes_on() {
    let start = Instant::now();
    let mut health = Health::new(LIMIT);
    health.set_eligible(true);
    health.queued(start);
    for seconds in (0..300).step_by(30) {
        let now = after(start, 1000 * seconds);
        health.progressed(start, now.at);
        assert!(livez(&health, now).0, "{seconds}");
        assert_eq!(healthz(&health, now).0, seconds < 60, "{seconds}: it is behind");
    }
    assert!(livez(&health, after(start, 329_999)).0);
    assert!(!livez(&health, after(start, 330_000)).0, "a hang");
}

#[test]
fn a_first_sync_that_never_succeeds_is_unhealthy() {
    let start = Instant::now();
    let mut health = Health::new(LIMIT);
    health.queued(start);
    let (is_good, report) = HealthReport::livez(&health, after(start, 60_000));
    assert!(!is_good && report.status.is_some(), "{report:?}");
    health.settled();
    assert!(HealthReport::livez(&health, after(start, 60_000)).0);
}

#[test]
fn a_node_that_goes_is_alive_but_takes_no_new_traffic() {
    let start = Instant::now();
    let mut health = Health::new(LIMIT);
    health.set_eligible(true);
    health.updated(after(start, 0));
    health.set_eligible(false);
    let now = after(start, 1_000);
    assert!(livez(&health, now).0);
    let (is_good, text) = healthz(&health, now);
    assert!(!is_good);
    let expected = concat!(
        r#"{"lastUpdated":"2026-03-01T12:00:00Z","currentTime":"2026-03-01T12:00:01Z","#,
        r#""nodeEligible":false,"healthy":true,"status":"#
    );
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_node_is_ready_once_it_was_programmed_and_while_it_is_healthy() {
    let start = Instant::now();
    let mut health = Health::new(LIMIT);
    let is_ready = |health: &Health, seconds: u64| {
        let now = after(start, 1000 * seconds);
        (HealthReport::livez(health, now).0, HealthReport::readyz(health, now).0)
    };
    assert_eq!(is_ready(&health, 0), (true, false), "nothing is known yet");
    health.updated(after(start, 0));
    assert_eq!(is_ready(&health, 1), (true, true), "whether or not the node is to stay");
    health.queued(start);
    assert_eq!(is_ready(&health, 59), (true, true));
    assert_eq!(is_ready(&health, 60), (false, false));
}
