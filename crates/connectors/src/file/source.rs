//! The driver's half of a file source: which files each micro-batch reads.
//!
//! ```text
//!  list ─► pending (known, not read; own files by batch) ─► plan: a range lists its files ─► decided: seen ─► commit: clean
//! ```
//! Files are read once each, in the order of modification time, then name. Files that a Millstream sink wrote are taken
//! by whole committed batches, in the order of batches.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::connector::SourceRequest;
use millstream_core::source::SourceMetrics;
use millstream_core::{
    Admission, BatchId, Clock, Error, Options, Position, QueryId, ReaderSpec, Result, Source, SourceRange, SourceStart, Split,
};
use millstream_formats::datetime::Zone;
use millstream_state::{FileSystem, Location};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::committed::Committed;
use super::format::FileFormat;
use super::listing::{FoundFile, Lister, stat};
use super::names::OwnName;
use super::options::{CleanSource, FileSourceOptions};
use super::partition::partition_values;
use super::quiet::{QuietFolder, QuietFolders};
use super::seen::{SeenFiles, name_key};
use super::{NAME, clean, schema, splits};
use crate::wire;

/// Files of a micro-batch at most, unless it takes all there is: a record names each.
const FILES_PER_BATCH_MAX: u64 = 50_000;

/// An object store is not listed more often than this when there is nothing new: every listing is paid for. A little less than the half second
/// between two looks of an idle query, so that no look is passed over which comes a moment too soon.
const STORE_LIST_INTERVAL: Duration = Duration::from_millis(450);

/// A new snapshot of the seen files is worth its bytes when this many files came since the last one, or a quarter of all.
const SNAPSHOT_FILES_MIN: u64 = 10_000;

/// A table that is replaced all the time while it is listed is given up after so many tries.
const LISTINGS_MAX: usize = 100;

/// The position: how many ranges were decided, less one, as in Spark's progress.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct LogOffset {
    #[serde(rename = "logOffset")]
    log_offset: i64,
}

/// The files of a range, below a common folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RangeFiles {
    root: String,
    /// Path below the root, size, modification time (microseconds).
    files: Vec<(String, u64, i64)>,
}

impl RangeFiles {
    fn new(files: &[FoundFile]) -> Self {
        let common = files.iter().skip(1).fold(files.first().map_or("", |file| file.path.as_str()), |common, file| {
            let same = common.bytes().zip(file.path.bytes()).take_while(|(left, right)| left == right).count();
            common.get(..same).unwrap_or_default()
        });
        let root = common.rfind('/').and_then(|at| common.get(..=at)).unwrap_or_default().to_owned();
        let below = |file: &FoundFile| file.path.get(root.len()..).unwrap_or_default().to_owned();
        let files = files.iter().map(|file| (below(file), file.size, file.mtime_us)).collect();
        Self { root, files }
    }

    pub(super) fn of(range: &SourceRange) -> Result<Vec<FoundFile>> {
        let range: Self = wire::from_value(&range.detail, "the files of a range")?;
        let whole = |(path, size, mtime_us)| FoundFile { path: format!("{}{path}", range.root), size, mtime_us };
        Ok(range.files.into_iter().map(whole).collect())
    }
}

/// Files that are known and wait.
#[derive(Debug, Default)]
struct Pending {
    /// (modification time, path) -> size.
    foreign: BTreeMap<(i64, String), u64>,
    own: BTreeMap<(QueryId, BatchId), Vec<FoundFile>>,
    keys: HashSet<u128>,
    n_bytes: u64,
}

/// What is taken together: a foreign file, or a batch of ours.
struct Unit {
    order: (i64, String),
    files: Vec<FoundFile>,
}

#[derive(Debug)]
pub(super) struct FileSource {
    format: FileFormat,
    options: FileSourceOptions,
    reader_options: Options,
    fs: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    time_zone: String,
    schema: SchemaRef,
    lister: Lister,
    committed: Committed,
    seen: SeenFiles,
    pending: Pending,
    offset: i64,
    is_streaming: bool,
    is_end_fixed: bool,
    last_list: Option<Duration>,
    /// The folder, while nothing happens in it.
    quiet: Option<Arc<QuietFolder>>,
    quiet_folders: Arc<QuietFolders>,
    n_since_snapshot: AtomicU64,
    has_warned_of_columns: bool,
}

impl FileSource {
    pub(super) async fn open(fs: Arc<dyn FileSystem>, quiet_folders: Arc<QuietFolders>, request: SourceRequest) -> Result<Self> {
        let format: FileFormat = request.format.parse()?;
        let zone = Zone::parse(&request.time_zone)?;
        let options = FileSourceOptions::parse(format, &request.options, request.is_streaming, zone)?;
        let mut lister = Lister::new(&options, &request.options)?;
        let schema = schema::resolve(format, &options, &request, &mut lister, zone).await?;
        Ok(Self {
            format,
            options,
            reader_options: request.options.clone(),
            fs,
            clock: request.clock,
            time_zone: request.time_zone,
            schema,
            lister,
            committed: Committed::default(),
            seen: SeenFiles::default(),
            pending: Pending::default(),
            offset: -1,
            is_streaming: request.is_streaming,
            is_end_fixed: false,
            last_list: None,
            quiet: None,
            quiet_folders,
            n_since_snapshot: AtomicU64::new(0),
            has_warned_of_columns: false,
        })
    }

    fn key(&self, path: &str) -> u128 {
        if self.options.file_name_only { name_key(path.rsplit('/').next().unwrap_or(path)) } else { name_key(path) }
    }

    /// Lists, and adds what is new to the pending files.
    async fn refresh(&mut self) -> Result<()> {
        let now = self.clock.monotonic();
        let is_recent = self.last_list.is_some_and(|last| now.saturating_sub(last) < STORE_LIST_INTERVAL);
        if !self.lister.base.is_local() && is_recent && self.pending.keys.is_empty() {
            return Ok(());
        }
        self.last_list = Some(now);
        if self.committed.is_empty()
            && let Some(quiet) = self.lister.quiet()
        {
            self.quiet = Some(Arc::new(quiet));
            return Ok(());
        }
        self.quiet = None;
        if !self.lister.is_glob() {
            self.committed = Committed::read(&self.lister.base).await?;
        }
        let Self { lister, committed, seen, pending, options, clock, schema, has_warned_of_columns, .. } = self;
        let key_of = |path: &str| if options.file_name_only { name_key(path.rsplit('/').next().unwrap_or(path)) } else { name_key(path) };
        let is_new = |path: &str| {
            let key = key_of(path);
            seen.is_new_name(key) && !pending.keys.contains(&key)
        };
        let found = lister.list(clock.now_proc_us(), &is_new).await?;
        for file in found {
            if !*has_warned_of_columns {
                *has_warned_of_columns = warn_of_new_column(schema, lister, &file.path);
            }
            if seen.is_young(file.mtime_us) && !committed.is_retired(&file.path) && pending.keys.insert(key_of(&file.path)) {
                pending.add(file);
            }
        }
        Ok(())
    }

    /// Lists finished data as it was at one moment: the version before an `overwrite`, or the one after it.
    ///
    /// A listing that runs beside a replacement may miss old files that go and new ones that come, down to nothing at all, and the
    /// books of both may be gone when it ends. So two listings in a row have to find the same.
    async fn list_whole(&mut self) -> Result<()> {
        let mut last = None;
        for _ in 0..LISTINGS_MAX {
            (self.pending, self.last_list) = (Pending::default(), None);
            self.lister.forget();
            self.refresh().await?;
            let found = (!self.lister.has_vanished()).then(|| (self.committed.clone(), self.pending.files()));
            if found.is_some() && found == last {
                return Ok(());
            }
            last = found;
        }
        Err(Error::data(format!("'{}' was replaced again and again while it was listed", self.lister.description())))
    }

    /// The units that may be read now, in order, until `take` says no.
    fn take_units(&self, mut take: impl FnMut(&Unit) -> bool) -> Vec<FoundFile> {
        let mut own = self.own_units();
        let mut foreign: Box<dyn Iterator<Item = (&(i64, String), &u64)>> = if self.options.latest_first {
            own.reverse();
            Box::new(self.pending.foreign.iter().rev())
        } else {
            Box::new(self.pending.foreign.iter())
        };
        let mut own = own.into_iter().peekable();
        let mut next_foreign = foreign.next();
        let mut taken = Vec::new();
        loop {
            let own_first = match (own.peek(), next_foreign) {
                (None, None) => return taken,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some(unit), Some((order, _))) => (unit.order < *order) != self.options.latest_first,
            };
            let unit = if own_first {
                own.next()
            } else {
                let unit = next_foreign.map(|((mtime_us, path), size)| Unit {
                    order: (*mtime_us, path.clone()),
                    files: vec![FoundFile { path: path.clone(), size: *size, mtime_us: *mtime_us }],
                });
                next_foreign = foreign.next();
                unit
            };
            match unit {
                Some(unit) if take(&unit) => taken.extend(unit.files),
                _ => return taken,
            }
        }
    }

    /// Committed batches of our sinks, in an order in which no batch comes before an older one of its query.
    fn own_units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        let mut last: Option<(QueryId, i64)> = None;
        for ((query, batch), files) in &self.pending.own {
            if !self.committed.counts(*query, *batch) {
                continue;
            }
            let newest = files.iter().map(|file| file.mtime_us).max().unwrap_or(0);
            let floor = last.filter(|(last_query, _)| last_query == query).map_or(i64::MIN, |(_, mtime_us)| mtime_us);
            let mtime_us = newest.max(floor);
            last = Some((*query, mtime_us));
            let mut files = files.clone();
            files.sort_by(|left, right| left.path.cmp(&right.path));
            units.push(Unit { order: (mtime_us, format!("{query}-{:020}", batch.0)), files });
        }
        units.sort_by(|left, right| left.order.cmp(&right.order));
        units
    }

    /// Files that changed or vanished since they were listed, brought up to date.
    async fn confirm(&mut self, files: Vec<FoundFile>) -> Result<Vec<FoundFile>> {
        if !self.is_streaming || !self.lister.base.is_local() {
            // Finished data were listed just now, and without one file they would not be whole. In a store a request per file would
            // cost more than it saves. The reader tells of files that changed or vanished.
            return Ok(files);
        }
        let mut confirmed = Vec::with_capacity(files.len());
        for file in files {
            match stat(&self.lister.base, &file.path).await? {
                Some(now) if now == file => confirmed.push(file),
                Some(now) => {
                    self.pending.remove(&file);
                    self.pending.add(now.clone());
                    confirmed.push(now);
                }
                None => {
                    let key = self.key(&file.path);
                    self.pending.remove(&file);
                    self.pending.keys.remove(&key);
                }
            }
        }
        Ok(confirmed)
    }

    fn mark_seen(&mut self, files: &[FoundFile]) {
        for file in files {
            let key = self.key(&file.path);
            self.seen.add(key, file.mtime_us);
            if self.pending.keys.remove(&key) {
                self.pending.remove(file);
            }
        }
        if let Some(age) = self.options.max_file_age {
            self.seen.purge(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        }
        self.n_since_snapshot.fetch_add(files.len() as u64, Ordering::Relaxed);
    }
}

impl Pending {
    fn add(&mut self, file: FoundFile) {
        self.n_bytes += file.size;
        match OwnName::parse(file.path.rsplit('/').next().unwrap_or_default()) {
            Some(own) => self.own.entry((own.query_id, own.batch_id)).or_default().push(file),
            None => {
                self.foreign.insert((file.mtime_us, file.path), file.size);
            }
        }
    }

    fn remove(&mut self, file: &FoundFile) {
        match OwnName::parse(file.path.rsplit('/').next().unwrap_or_default()) {
            Some(own) => {
                let unit = (own.query_id, own.batch_id);
                if let Some(files) = self.own.get_mut(&unit) {
                    files.retain(|known| known.path != file.path);
                    if files.is_empty() {
                        self.own.remove(&unit);
                    }
                }
            }
            None => {
                self.foreign.remove(&(file.mtime_us, file.path.clone()));
            }
        }
        self.n_bytes = self.n_bytes.saturating_sub(file.size);
    }

    /// All of them, sorted by path.
    fn files(&self) -> Vec<FoundFile> {
        let foreign =
            self.foreign.iter().map(|((mtime_us, path), size)| FoundFile { path: path.clone(), size: *size, mtime_us: *mtime_us });
        let mut files: Vec<FoundFile> = foreign.chain(self.own.values().flatten().cloned()).collect();
        files.sort_by(|left, right| left.path.cmp(&right.path));
        files
    }

    fn len(&self) -> usize {
        self.foreign.len() + self.own.values().map(Vec::len).sum::<usize>()
    }
}

#[async_trait]
impl Source for FileSource {
    fn description(&self) -> String {
        format!("FileStreamSource[{}]", self.lister.description())
    }

    fn identity(&self) -> serde_json::Value {
        serde_json::json!({ "kind": "file", "format": self.format.name(), "path": self.lister.description() })
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn reader(&self) -> ReaderSpec {
        ReaderSpec {
            connector: NAME.to_owned(),
            format: self.format.name().to_owned(),
            options: self.reader_options.clone(),
            schema: Arc::clone(&self.schema),
            projection: None,
            time_zone: self.time_zone.clone(),
            batch_rows: 8192,
        }
    }

    async fn start(&mut self, start: SourceStart) -> Result<Position> {
        if let SourceStart::At(position) = &start {
            let at: LogOffset = wire::from_value(&position.0, "file source position")?;
            self.offset = at.log_offset;
        }
        if let SourceStart::Resume { snapshot, ranges } = start {
            if let Some(snapshot) = snapshot {
                (self.seen, self.offset) = SeenFiles::decode(&snapshot)?;
            }
            for (_, range) in &ranges {
                let files = RangeFiles::of(range)?;
                self.mark_seen(&files);
                let end: LogOffset = wire::from_value(&range.end.0, "file source position")?;
                self.offset = end.log_offset;
            }
        }
        Ok(Position(wire::to_value(&LogOffset { log_offset: self.offset })?))
    }

    async fn plan(&mut self, from: &Position, admission: &Admission) -> Result<Option<SourceRange>> {
        match (self.is_streaming, self.is_end_fixed) {
            (false, _) => self.list_whole().await?,
            (true, false) => self.refresh().await?,
            (true, true) => {}
        }
        let limits = (!admission.ignore_limits).then(|| {
            let files_max = self.options.max_files.unwrap_or(FILES_PER_BATCH_MAX);
            let bytes_max = [self.options.max_bytes, admission.bytes_max].into_iter().flatten().min().unwrap_or(u64::MAX);
            (files_max, bytes_max)
        });
        loop {
            let (mut n_files, mut n_bytes) = (0_u64, 0_u64);
            let seen = &self.seen;
            let mut old = Vec::new();
            let chosen = self.take_units(|unit| {
                // Those that grew too old while they waited go too.
                if let [file] = unit.files.as_slice()
                    && !seen.is_young(file.mtime_us)
                {
                    old.push(file.clone());
                    return true;
                }
                let (more_files, more_bytes) =
                    (n_files + unit.files.len() as u64, n_bytes + unit.files.iter().map(|file| file.size).sum::<u64>());
                let fits = n_files == 0 || limits.is_none_or(|(files_max, bytes_max)| more_files <= files_max && more_bytes <= bytes_max);
                if fits {
                    (n_files, n_bytes) = (more_files, more_bytes);
                }
                fits
            });
            for file in &old {
                let key = self.key(&file.path);
                self.pending.keys.remove(&key);
                self.pending.remove(file);
            }
            let chosen: Vec<FoundFile> = chosen.into_iter().filter(|file| !old.contains(file)).collect();
            if chosen.is_empty() {
                return Ok(None);
            }
            let confirmed = self.confirm(chosen).await?;
            if confirmed.is_empty() {
                // All of them vanished: what comes next?
                continue;
            }
            let start: LogOffset = wire::from_value(&from.0, "file source position")?;
            let end = Position(wire::to_value(&LogOffset { log_offset: start.log_offset + 1 })?);
            let detail = wire::to_value(&RangeFiles::new(&confirmed))?;
            return Ok(Some(SourceRange { start: from.clone(), end, detail }));
        }
    }

    async fn splits(&mut self, range: &SourceRange, n_tasks: usize) -> Result<Vec<Split>> {
        let files = RangeFiles::of(range)?;
        splits::pack(self.format, &self.reader_options, &self.lister, &files, n_tasks)
    }

    async fn is_unchanged(&mut self, range: &SourceRange) -> Result<bool> {
        if !self.lister.base.is_local() {
            // A request per file costs too much; the reader tells.
            return Ok(true);
        }
        for file in RangeFiles::of(range)? {
            if stat(&self.lister.base, &file.path).await? != Some(file) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn decided(&mut self, _batch: BatchId, range: &SourceRange) -> Result<()> {
        let files = RangeFiles::of(range)?;
        self.mark_seen(&files);
        let end: LogOffset = wire::from_value(&range.end.0, "file source position")?;
        self.offset = end.log_offset;
        Ok(())
    }

    async fn commit(&mut self, batch: BatchId, range: &SourceRange) -> Result<()> {
        if self.options.clean_source != CleanSource::Off {
            let files = RangeFiles::of(range)?;
            clean::clean(self.fs.as_ref(), &self.lister.base, &self.options.clean_source, &self.reader_options, batch, &files).await;
        }
        Ok(())
    }

    async fn fix_end(&mut self) -> Result<()> {
        self.last_list = None;
        self.refresh().await?;
        self.is_end_fixed = true;
        Ok(())
    }

    fn snapshot(&self) -> Result<Option<Bytes>> {
        self.n_since_snapshot.store(0, Ordering::Relaxed);
        Ok(Some(self.seen.encode(self.offset)))
    }

    fn snapshot_due(&self) -> bool {
        self.n_since_snapshot.load(Ordering::Relaxed) >= SNAPSHOT_FILES_MIN.max(self.seen.len() as u64 / 4)
    }

    fn wakeup(&self) -> Option<Arc<Notify>> {
        // What is there and waits is not told.
        let quiet = self.quiet.as_ref().filter(|_| self.pending.keys.is_empty())?;
        Some(self.quiet_folders.changed(quiet, &self.clock))
    }

    fn metrics(&self) -> SourceMetrics {
        let mut metrics = SourceMetrics::default();
        metrics.values = vec![
            ("numFilesOutstanding".to_owned(), self.pending.len().to_string()),
            ("numBytesOutstanding".to_owned(), self.pending.n_bytes.to_string()),
        ];
        metrics
    }
}

/// A partition folder that was not there when the schema was found: its files are read without its column, until the next
/// start finds it.
fn warn_of_new_column(schema: &SchemaRef, lister: &Lister, path: &str) -> bool {
    let values = partition_values(lister.partition_folders(path).into_iter());
    let unknown = |name: &str| schema.fields().iter().all(|field| !field.name().eq_ignore_ascii_case(name));
    match values.iter().find(|(name, _)| unknown(name)) {
        Some((column, _)) => {
            tracing::warn!(
                column,
                file = path,
                "a folder names a column that was not there when the query started: the rows come without it; give it in the schema to have it"
            );
            true
        }
        None => false,
    }
}

/// The location, for whoever reads a range's files.
pub(super) fn location_of(path: &str, options: &Options) -> Result<Location> {
    let glob = super::glob_path::GlobPath::parse(path)?;
    Location::parse(&glob.base, options).map_err(|error: Error| error.context(format!("path '{path}'")))
}
