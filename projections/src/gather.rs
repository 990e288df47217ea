use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::oneshot, time::Instant};

/// Many who ask for the same at once share one answer, and nobody gets one whose making began
/// before they asked: what was true when they asked is in it.
pub(crate) struct Gather<K, A, T> {
    runs: Arc<Mutex<HashMap<K, Run<A, T>>>>,
}

/// One answer in the making, and those who came too late for it.
struct Run<A, T> {
    began: Instant,
    aboard: Vec<oneshot::Sender<T>>,
    late: Vec<oneshot::Sender<T>>,
    /// What the last of the late asked with.
    next: Option<A>,
}

/// An answer in the making.
pub(crate) type Making<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The most keys at a time, and the most who wait for one key.
const MOST: usize = 10_000;

impl<K, A, T> Clone for Gather<K, A, T> {
    fn clone(&self) -> Self {
        Self { runs: Arc::clone(&self.runs) }
    }
}

impl<K, A, T> Default for Gather<K, A, T> {
    fn default() -> Self {
        Self { runs: Arc::default() }
    }
}

impl<K, A, T> fmt::Debug for Gather<K, A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").finish_non_exhaustive()
    }
}

fn open<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, A, T> Gather<K, A, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    A: Send + 'static,
    T: Clone + Send + 'static,
{
    /// The answer of a `make` that begins not before `asked`; `None` when too many wait, or it
    /// panicked.
    pub(crate) async fn ask(
        &self,
        key: K,
        asked: Instant,
        with: A,
        make: impl Fn(A) -> Making<T> + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        if let Some(first) = self.join(key.clone(), asked, with, tell)? {
            let run = Running { gather: self.clone(), key, done: false };
            // A task of its own: whoever asked first may go away while others wait.
            tokio::spawn(run.drive(first, make));
        }
        told.await.ok()
    }

    /// Gives back what to begin with when nothing is in the making; `None` when it is full.
    fn join(&self, key: K, asked: Instant, with: A, tell: oneshot::Sender<T>) -> Option<Option<A>> {
        let mut runs = open(&self.runs);
        if let Some(run) = runs.get_mut(&key) {
            if run.aboard.len() + run.late.len() >= MOST {
                return None;
            }
            if run.began >= asked {
                run.aboard.push(tell);
            } else {
                run.late.push(tell);
                run.next = Some(with);
            }
            return Some(None);
        }
        if runs.len() >= MOST {
            return None;
        }
        let run = Run { began: Instant::now(), aboard: vec![tell], late: vec![], next: None };
        runs.insert(key, run);
        Some(Some(with))
    }

    /// Hands out the answer and says what the next one begins with, if anybody waits for one.
    fn finish(&self, key: &K, answer: &T) -> Option<A> {
        let mut runs = open(&self.runs);
        let run = runs.get_mut(key)?;
        for tell in run.aboard.drain(..) {
            // Whoever went away needs no answer.
            drop(tell.send(answer.clone()));
        }
        // Those who went away while they waited are no reason to begin again.
        run.late.retain(|tell| !tell.is_closed());
        let next = run.next.take().filter(|_| !run.late.is_empty());
        if next.is_some() {
            run.aboard = std::mem::take(&mut run.late);
            run.began = Instant::now();
        } else {
            runs.remove(key);
        }
        next
    }
}

/// Takes the key away when the making panics: nobody would be answered again.
struct Running<K: Eq + Hash, A, T> {
    gather: Gather<K, A, T>,
    key: K,
    /// The key was taken away; it may be another run's by now.
    done: bool,
}

impl<K, A, T> Running<K, A, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    A: Send + 'static,
    T: Clone + Send + 'static,
{
    async fn drive(mut self, first: A, make: impl Fn(A) -> Making<T> + Send + 'static) {
        let mut with = first;
        loop {
            let answer = make(with).await;
            match self.gather.finish(&self.key, &answer) {
                Some(next) => with = next,
                None => return self.done = true,
            }
        }
    }
}

impl<K: Eq + Hash, A, T> Drop for Running<K, A, T> {
    fn drop(&mut self) {
        if !self.done {
            open(&self.gather.runs).remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::sync::Semaphore;

    use super::*;

    /// Counts what is made; each making waits for a permit.
    #[derive(Debug, Clone)]
    struct Maker {
        gather: Gather<&'static str, usize, (usize, usize)>,
        began: Arc<AtomicUsize>,
        permits: Arc<Semaphore>,
    }

    impl Maker {
        fn new() -> Self {
            let permits = Arc::new(Semaphore::new(0));
            Self { gather: Gather::default(), began: Arc::default(), permits }
        }

        /// The number of the making and what it was made with.
        async fn ask(&self, key: &'static str, with: usize) -> Option<(usize, usize)> {
            let (began, permits) = (Arc::clone(&self.began), Arc::clone(&self.permits));
            let make = move |with| {
                let number = began.fetch_add(1, Ordering::SeqCst);
                let permits = Arc::clone(&permits);
                let making: Making<_> = Box::pin(async move {
                    permits.acquire().await.unwrap().forget();
                    (number, with)
                });
                making
            };
            self.gather.ask(key, Instant::now(), with, make).await
        }

        fn asked(&self, with: usize) -> tokio::task::JoinHandle<Option<(usize, usize)>> {
            let maker = self.clone();
            tokio::spawn(async move { maker.ask("key", with).await })
        }

        async fn waiting(&self, aboard: usize, late: usize) {
            until(|| {
                let runs = open(&self.gather.runs);
                let run = runs.get("key");
                run.is_some_and(|run| (run.aboard.len(), run.late.len()) == (aboard, late))
            })
            .await;
        }
    }

    async fn until(mut condition: impl FnMut() -> bool) {
        let asking = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking).await.unwrap();
    }

    #[tokio::test]
    async fn those_who_come_late_share_the_next_one() {
        let maker = Maker::new();
        let first = maker.asked(1);
        maker.waiting(1, 0).await;
        let late = [maker.asked(2), maker.asked(3)];
        maker.waiting(1, 2).await;
        maker.permits.add_permits(1);
        assert_eq!(first.await.unwrap(), Some((0, 1)));
        maker.waiting(2, 0).await;
        maker.permits.add_permits(1);
        for asked in late {
            assert_eq!(asked.await.unwrap().map(|(number, _)| number), Some(1));
        }
        assert!(open(&maker.gather.runs).is_empty());
        maker.permits.add_permits(1);
        assert_eq!(maker.ask("key", 4).await, Some((2, 4)), "and it begins again");
    }

    #[tokio::test]
    async fn whoever_goes_away_takes_nothing_from_the_others() {
        let maker = Maker::new();
        let first = maker.asked(1);
        maker.waiting(1, 0).await;
        let late = maker.asked(2);
        maker.waiting(1, 1).await;
        first.abort();
        maker.permits.add_permits(2);
        assert_eq!(late.await.unwrap(), Some((1, 2)));
    }

    #[tokio::test]
    async fn after_a_panic_others_are_answered() {
        let gather: Gather<(), (), u8> = Gather::default();
        let broken =
            gather.ask((), Instant::now(), (), |()| Box::pin(async { panic!("on purpose") })).await;
        assert_eq!(broken, None);
        assert_eq!(gather.ask((), Instant::now(), (), |()| Box::pin(async { 1 })).await, Some(1));
    }
}
