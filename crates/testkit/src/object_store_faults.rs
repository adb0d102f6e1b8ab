//! An object store whose network fails: requests that never arrive, answers that are lost, requests that arrive late.
//!
//! Wraps any store. What fails is chosen by number or by seed; data is never changed on the way.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use millstream_state::Store;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

use crate::rng::Rng;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// It never arrives.
    RequestLost,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// Only for puts: the caller is told of a failure, and the request is done later (see [`FaultyStore::deliver_late`]).
    Late,
}

/// A store that fails. Clones are the same store.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    n_requests: u64,
    n_faults: u64,
    faults: BTreeMap<u64, StoreFault>,
    chance: Option<(Rng, u64)>,
    late: Vec<(Path, PutPayload, PutOptions)>,
}

impl FaultyStore {
    /// A store that works, until told otherwise.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// The request number `n_request` (from 0; puts, gets, lists and part uploads count) fails.
    pub fn fail_at(&self, n_request: u64, fault: StoreFault) {
        self.lock().faults.insert(n_request, fault);
    }

    /// From now on one in `n` requests fails somehow, chosen by the seed; 0 ends it.
    pub fn fail_one_in(&self, n: u64, seed: u64) {
        self.lock().chance = (n > 0).then(|| (Rng::new(seed), n));
    }

    /// How many requests there were.
    pub fn n_requests(&self) -> u64 {
        self.lock().n_requests
    }

    /// How many of them failed.
    pub fn n_faults(&self) -> u64 {
        self.lock().n_faults
    }

    /// The late requests arrive now; whether they succeed is nobody's business.
    pub async fn deliver_late(&self) {
        let late = std::mem::take(&mut self.lock().late);
        for (path, payload, options) in late {
            let _ = self.inner.put_opts(&path, payload, options).await;
        }
    }

    fn next(&self) -> Option<StoreFault> {
        let mut plan = self.lock();
        let n_request = plan.n_requests;
        plan.n_requests += 1;
        let mut fault = plan.faults.remove(&n_request);
        if let (None, Some((rng, n))) = (fault, &mut plan.chance)
            && rng.one_in(*n)
        {
            fault = [StoreFault::RequestLost, StoreFault::AnswerLost, StoreFault::Late].get(rng.index(3)).copied();
        }
        plan.n_faults += u64::from(fault.is_some());
        fault
    }

    async fn pass<T>(&self, request: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.next() {
            None => request.await,
            Some(StoreFault::AnswerLost) => {
                let _ = request.await;
                Err(lost())
            }
            Some(StoreFault::RequestLost | StoreFault::Late) => Err(lost()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lost() -> Error {
    Error::Generic { store: "FaultyStore", source: "connection reset by peer (injected)".into() }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.next() {
            None => self.inner.put_opts(location, payload, opts).await,
            Some(StoreFault::RequestLost) => Err(lost()),
            Some(StoreFault::AnswerLost) => {
                let _ = self.inner.put_opts(location, payload, opts).await;
                Err(lost())
            }
            Some(StoreFault::Late) => {
                self.lock().late.push((location.clone(), payload, opts));
                Err(lost())
            }
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.pass(self.inner.put_multipart_opts(location, opts)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.pass(self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.pass(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.next() {
            None => self.inner.list(prefix),
            Some(_) => Box::pin(futures::stream::once(async { Err(lost()) })),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.pass(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.pass(self.inner.copy_opts(from, to, options)).await
    }
}

#[async_trait]
impl MultipartStore for FaultyStore {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.pass(self.inner.create_multipart(path)).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, part_idx: usize, data: PutPayload) -> Result<PartId> {
        self.pass(self.inner.put_part(path, id, part_idx, data)).await
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        self.pass(self.inner.complete_multipart(path, id, parts)).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.pass(self.inner.abort_multipart(path, id)).await
    }
}
