//! Checks that a loop still runs. Only the loop itself can answer, so a loop that hangs, or that waits for a lock for ever, is noticed.

use tokio::sync::{mpsc, oneshot};

/// Number of questions that wait for the loop.
const QUEUE: usize = 4;

/// The end that asks.
#[derive(Debug, Clone)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// The end of the loop.
#[derive(Debug)]
pub(crate) struct PulseAnswers(mpsc::Receiver<oneshot::Sender<()>>);

/// Both ends.
pub(crate) fn pulse() -> (Pulse, PulseAnswers) {
    let (questions, answers) = mpsc::channel(QUEUE);
    (Pulse(questions), PulseAnswers(answers))
}

impl Pulse {
    /// Completes with `true` when the loop has answered, with `false` if it has ended.
    pub async fn beats(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.is_ok() && answered.await.is_ok()
    }
}

impl PulseAnswers {
    /// Answers the next question. The loop awaits it beside its other events, and calls it again. Dropping the future loses no question.
    pub(crate) async fn answer(&mut self) {
        match self.0.recv().await {
            // It fails if nobody waits for the answer any more.
            Some(question) => drop(question.send(())),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_loop_that_runs_answers() {
        let (pulse, mut answers) = pulse();
        let patience = Duration::from_secs(60);
        assert!(tokio::time::timeout(patience, pulse.beats()).await.is_err(), "no loop runs yet");
        let running = tokio::spawn(async move {
            for _ in 0..3 {
                answers.answer().await;
            }
            // the loop hangs
            tokio::time::sleep(Duration::from_secs(600)).await;
        });
        assert!(pulse.beats().await);
        assert!(pulse.beats().await);
        assert!(tokio::time::timeout(patience, pulse.beats()).await.is_err());
        running.await.unwrap();
        assert!(!pulse.beats().await);
    }
}
