//! Buffers that another CPU has had in its hands: what a driver on another CPU costs at least, whoever is the backend.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::talk::{BoxError, Watch};

/// Buffers that change hands together, so that changing hands costs little.
pub(crate) const BATCH: usize = 32;

pub(crate) type Batch = Vec<Vec<u8>>;

/// This end of the exchange.
pub(crate) struct Relay {
    give: SyncSender<Batch>,
    take: Receiver<Batch>,
    waited: Cell<Duration>,
}

impl Relay {
    /// The next batch that the other CPU is done with.
    pub(crate) fn take(&self) -> Result<Batch, BoxError> {
        let batch = match self.take.try_recv() {
            Ok(batch) => Some(batch),
            Err(_) => {
                let watch = Watch::start();
                let batch = wait(&self.take);
                self.waited.set(self.waited.get() + watch.cpu());
                batch
            }
        };
        batch.ok_or_else(|| "the other thread has ended".into())
    }

    /// CPU time that went by because the other CPU was busy with something else: no part of what a frame costs.
    pub(crate) fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// Gives a batch to the other CPU.
    pub(crate) fn give(&self, batch: Batch) -> Result<(), BoxError> {
        self.give.send(batch).map_err(|_| "the other thread has ended".into())
    }
}

/// Never sleeps: to be woken would cost the one who wakes.
fn wait(from: &Receiver<Batch>) -> Option<Batch> {
    loop {
        match from.try_recv() {
            Ok(batch) => return Some(batch),
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
}

/// Has this thread run on `cpu` only. Elsewhere it would measure something else, but not fail.
pub(crate) fn stay_on(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    let _ = sched_setaffinity(None, &cpus);
}

/// Has a thread on `cpu` do `there` to each batch that it is given, while this thread does `here`; then returns the batches.
pub(crate) fn exchange<T>(
    cpu: usize,
    batches: Vec<Batch>,
    mut there: impl FnMut(&mut Batch) + Send,
    here: impl FnOnce(&Relay) -> Result<T, BoxError>,
) -> Result<T, BoxError> {
    let (give, given) = sync_channel::<Batch>(batches.len());
    let (done, take) = sync_channel::<Batch>(batches.len());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            stay_on(cpu);
            while let Some(mut batch) = wait(&given) {
                there(&mut batch);
                if done.send(batch).is_err() {
                    break;
                }
            }
        });
        // Dropped at the end, which ends the thread.
        let relay = Relay { give, take, waited: Cell::default() };
        for batch in batches {
            relay.give(batch)?;
        }
        here(&relay)
    })
}
