use k8s_openapi::jiff::Timestamp;

use super::super::Severity;
use super::*;
use crate::source::Kind;

const SECOND: Duration = Duration::from_secs(1);

fn about(name: &str, scope: EventScope, note: &str) -> Event {
    let kind = if scope == EventScope::Node { Kind::Node } else { Kind::Service };
    Event {
        about: ObjectKey::new(kind, "default", name),
        scope,
        severity: Severity::Warning,
        reason: "InvalidObject",
        action: "SyncProxyRules",
        note: note.to_owned(),
    }
}

const OCCURRENCE: Occurrence = Occurrence { time: Timestamp::UNIX_EPOCH, uid: None };

/// Offers an event 19 times a second, and takes what is to be sent; gives the notes with their times in
/// seconds.
fn run(seconds: u64, mut next: impl FnMut(u64) -> Event) -> Vec<(f64, String)> {
    let (mut queue, start) = (EventQueue::new(), Instant::now());
    let mut sent = Vec::new();
    for index in 0..seconds * 19 {
        let now = start + SECOND.mul_f64(index as f64 / 19.0);
        queue.offer(next(index), OCCURRENCE, now);
        while let Some((event, _)) = queue.pop(now) {
            sent.push(((now - start).as_secs_f64(), event.note));
        }
        assert!(queue.subjects.len() <= MAX_SUBJECTS && queue.waiting.len() <= MAX_WAITING);
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn one_object_that_turns_bad_all_the_time_is_told_of_a_few_times() {
    let sent = run(1000, |index| about("web", EventScope::Cluster, &format!("bad {index}")));
    // Three at first, and one each six minutes.
    assert_eq!(sent.len(), 5, "{sent:?}");
    assert!(sent.iter().take(3).all(|(time, _)| *time <= 30.1), "{sent:?}");
    let (time, last) = &sent[3];
    assert!((330.0..=420.0).contains(time) && last.contains("others like it"), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn many_bad_objects_are_told_of_in_time_and_never_all_at_once() {
    let sent = run(600, |index| about(&format!("web-{index}"), EventScope::Cluster, "bad"));
    let within = |end: f64| sent.iter().filter(|(time, _)| *time < end).count();
    assert!((20..=30).contains(&within(31.0)), "{}", within(31.0));
    assert!((70..=90).contains(&sent.len()), "{}", sent.len());
}

/// Each object is logged once, and the records of them are bounded.
#[tokio::test(start_paused = true)]
async fn more_bad_objects_than_can_be_known_are_a_line_a_second() {
    let (mut queue, start) = (EventQueue::new(), Instant::now());
    let mut own = 0;
    for index in 0..u64::try_from(2 * MAX_SUBJECTS).expect("few") {
        let event = about(&format!("web-{index}"), EventScope::Cluster, "bad");
        own += u32::from(queue.offer(event, OCCURRENCE, start));
    }
    let most = u32::try_from(MAX_SUBJECTS).expect("few");
    assert_eq!((own, queue.waiting.len()), (most + 1, MAX_WAITING));
    for second in 1..=20 {
        for offset in 0..19 {
            let event = about("more", EventScope::Cluster, &format!("bad {offset}"));
            own += u32::from(queue.offer(event, OCCURRENCE, start + SECOND * second));
        }
    }
    assert_eq!(own, most + 21);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_already_is_not_said_again_in_six_minutes() {
    let sent =
        run(800, |index| about("web", EventScope::Node, if index % 2 == 0 { "a" } else { "b" }));
    let times: Vec<_> = sent.iter().map(|(time, note)| (time.round(), note.as_str())).collect();
    assert_eq!(times[..2], [(0.0, "a"), (0.0, "b")]);
    assert!(sent.len() <= 6, "{times:?}");
    assert!(times[2..].iter().all(|(time, _)| *time >= 360.0), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn many_nodes_do_not_tell_of_an_object_at_once() {
    let start = Instant::now();
    let mut times = Vec::new();
    for _ in 0..1000 {
        let mut queue = EventQueue::new();
        assert!(queue.offer(about("web", EventScope::Cluster, "bad"), OCCURRENCE, start));
        times.push((queue.next().expect("it waits") - start).as_secs_f64());
    }
    let within = |from: f64| times.iter().filter(|time| (from..from + 1.0).contains(time)).count();
    // 67 on average, and 120 or more hardly once in ten billion.
    assert!((0..30).all(|second| within(f64::from(second)) < 120), "{times:?}");
    // What concerns one node alone is posted at once.
    let mut queue = EventQueue::new();
    queue.offer(about("node-a", EventScope::Node, "repaired"), OCCURRENCE, start);
    assert!(queue.pop(start).is_some());
}
