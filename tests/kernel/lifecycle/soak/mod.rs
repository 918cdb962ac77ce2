//! A node's life at random on the real kernel: whatever happens, in quiet the kernel holds what a
//! compile from scratch gives.
//!
//! Where nothing else is asked for, the lives are always the same, so that who has changed nothing
//! learns of nothing new. `WEIR_SOAK_MINUTES` makes others for so long, and `WEIR_SOAK_SEED` repeats one.

#[path = "../../../sync/faulty.rs"]
mod faulty;
mod node;
mod steps;

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngSeed, TestRunner};

use node::{Met, Node};
use steps::Step;

/// How many lives there are where nothing else is asked for.
const LIVES: u64 = 40;
/// How much happens in one.
const STEPS: usize = 60;
/// How much of it is told of one that went wrong.
const TOLD: usize = 12;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn after_whatever_happens_the_kernel_holds_what_is_compiled_from_scratch() {
    if let Some(seed) = number("WEIR_SOAK_SEED") {
        println!("{:?}", live(seed));
        return;
    }
    let limit = number("WEIR_SOAK_MINUTES").map(|it| Duration::from_secs(60 * it));
    let first = limit.map_or(0, |_| RandomState::new().hash_one(()));
    let (begin, mut lives, mut met) = (Instant::now(), 0, Met::default());
    while limit.map_or(lives < LIVES, |limit| begin.elapsed() < limit) {
        met.add(&live(first.wrapping_add(lives)));
        lives += 1;
    }
    println!("{lives} lives of {STEPS} steps in {:?}: {met:?}", begin.elapsed());
}

/// One life, in a namespace of its own.
fn live(seed: u64) -> Met {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    let mut told = Vec::new();
    let life = AssertUnwindSafe(|| runtime.block_on(steps(seed, &mut told)));
    catch_unwind(life).unwrap_or_else(|panic| {
        println!("WEIR_SOAK_SEED={seed} repeats this; its last steps were:");
        let last = told.len().saturating_sub(TOLD);
        told.iter().enumerate().skip(last).for_each(|(index, step)| println!("{index}: {step}"));
        resume_unwind(panic)
    })
}

async fn steps(seed: u64, told: &mut Vec<String>) -> Met {
    let config = Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..config });
    let mut node = Node::new();
    for _ in 0..STEPS {
        let step = Step::any(&mut runner);
        told.push(String::new());
        step.take(&mut node, &mut runner, told.last_mut().expect("just pushed")).await;
    }
    told.push("quiet at the end".to_owned());
    node.assert_quiet().await;
    node.met
}
