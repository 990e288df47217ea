//! Many tasks that want the same of Postgres at the same moment share one statement.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

/// In one statement.
const MOST: usize = 64;

/// Whoever asks while others are being answered shares the next answer. There is no task behind it: one of
/// those who ask works for all who wait.
#[derive(Debug)]
pub(super) struct Together<A, B, C> {
    waiting: Mutex<Vec<(A, oneshot::Sender<B>)>>,
    /// Who works has the connection that the one before has left.
    turn: tokio::sync::Mutex<Option<C>>,
    /// One of them may wait for a row that somebody holds: whoever comes later need not wait longer than this.
    patience: Duration,
}

impl<A, B, C> Together<A, B, C> {
    pub(super) fn new(patience: Duration) -> Self {
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default(), patience }
    }

    /// Asks for one; `work` answers many, in their order, and gives the connection to the next, or fails for all.
    /// `None` when it failed or took too long, or when whoever worked for us was stopped: what came of it is not
    /// known, and the connection is gone.
    pub(super) async fn ask<F, E>(&self, ask: A, work: impl Fn(Option<C>, Vec<A>) -> F) -> Option<B>
    where
        F: Future<Output = Result<(C, Vec<B>), E>>,
        E: fmt::Display,
    {
        let (reply, mut answer) = oneshot::channel();
        self.waiting().push((ask, reply));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer.ok(),
                mut turn = self.turn.lock() => {
                    let (asks, replies): (Vec<A>, Vec<_>) = self.next().into_iter().unzip();
                    if asks.is_empty() {
                        continue;
                    }
                    let working = work(turn.take(), asks);
                    let answers = match tokio::time::timeout(self.patience, working).await {
                        Ok(Ok((connection, answers))) => {
                            *turn = Some(connection);
                            answers
                        }
                        Ok(Err(error)) => {
                            tracing::debug!(%error, "those who asked together were refused");
                            vec![]
                        }
                        Err(_elapsed) => {
                            tracing::debug!("Postgres does not answer those who asked together");
                            vec![]
                        }
                    };
                    for (reply, answer) in replies.into_iter().zip(answers) {
                        // Whoever went away does not want to know.
                        drop(reply.send(answer));
                    }
                }
            }
        }
    }

    fn next(&self) -> Vec<(A, oneshot::Sender<B>)> {
        let mut waiting = self.waiting();
        let most = waiting.len().min(MOST);
        waiting.drain(..most).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(A, oneshot::Sender<B>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_share_an_answer_and_each_gets_its_own() {
        let (together, rounds) =
            (Arc::new(Together::new(Duration::from_secs(2))), Arc::new(AtomicUsize::new(0)));
        let asking = (0..200_u64).map(|n| {
            let (together, rounds) = (Arc::clone(&together), Arc::clone(&rounds));
            tokio::spawn(async move {
                let double = async |kept: Option<usize>, asked: Vec<u64>| {
                    // What the one before has left.
                    assert_eq!(kept.unwrap_or_default(), rounds.load(Ordering::Relaxed));
                    rounds.fetch_add(1, Ordering::Relaxed);
                    assert!(asked.len() <= MOST);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let answers = asked.into_iter().map(|n| n * 2).collect();
                    Ok::<_, Infallible>((kept.unwrap_or_default() + 1, answers))
                };
                (n, together.ask(n, double).await)
            })
        });
        for asked in asking.collect::<Vec<_>>() {
            let (n, answer) = asked.await.unwrap();
            assert_eq!(answer, Some(n * 2));
        }
        // The first alone, then as many as fit.
        assert!((4..=5).contains(&rounds.load(Ordering::Relaxed)), "{rounds:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_stopped_refused_or_slow_leaves_the_others_without_an_answer() {
        let together = Arc::new(Together::new(Duration::from_secs(2)));
        let ask = |n: u64, takes: Duration, fails: bool| {
            let together = Arc::clone(&together);
            tokio::spawn(async move {
                let work = async |_kept: Option<()>, asked: Vec<u64>| {
                    tokio::time::sleep(takes).await;
                    if fails { Err("refused") } else { Ok(((), asked)) }
                };
                together.ask(n, work).await
            })
        };
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        for (takes, fails, stops) in
            [(second, false, true), (second, true, false), (hour, false, false)]
        {
            // The first works alone; the next two wait behind it, and one of them works for both.
            let first = ask(1, second, false);
            tokio::task::yield_now().await;
            let (worker, other) = (ask(2, takes, fails), ask(3, takes, fails));
            assert_eq!(first.await.unwrap(), Some(1));
            tokio::time::sleep(second / 2).await;
            if stops {
                worker.abort();
            } else {
                assert_eq!(worker.await.unwrap(), None);
            }
            assert_eq!(other.await.unwrap(), None);
        }
        assert_eq!(ask(4, Duration::ZERO, false).await.unwrap(), Some(4));
    }
}
