//! A scenario and its gold as they are stored: `/gold/scenarios/FAMILY.json`.

use std::collections::BTreeMap;

use millstream_testkit::gold::root;
use serde::Deserialize;
use serde_json::Value;

/// Name and type of the columns.
pub type Columns = Vec<(String, String)>;
/// The batches of every step.
pub type Steps = Vec<Vec<GoldBatch>>;

#[derive(Debug)]
pub struct Scenario {
    pub id: String,
    /// Name and DDL of the streams.
    pub sources: BTreeMap<String, String>,
    /// Name and SQL of finished views.
    pub tables: BTreeMap<String, String>,
    /// SQL text, or the steps of a DataFrame program.
    pub program: Value,
    pub mode: String,
    pub conf: BTreeMap<String, String>,
    /// The rows of the file that a source gets in a step.
    pub steps: Vec<BTreeMap<String, Vec<Vec<Value>>>>,
    pub is_ordered: bool,
    /// Late rows of a batch, where Spark counts groups instead.
    pub late: BTreeMap<u64, u64>,
    pub answer: Answer,
}

/// What must come.
#[derive(Debug)]
pub enum Answer {
    Batches {
        schema: Columns,
        live: Steps,
        restart: Steps,
    },
    /// An error of one of these classes that speaks of `names`.
    Refused {
        classes: Vec<String>,
        names: String,
    },
    /// Spark refuses and has no program with the same rows: any answer, if both lives agree.
    Beyond,
}

/// What Spark did in a micro-batch. The rows in are not compared: Spark counts those that pass pushed-down filters.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum GoldBatch {
    Ran {
        batch: u64,
        watermark: Option<String>,
        rows: Vec<Vec<Value>>,
        /// Name, rows in all, updated, removed, dropped as late.
        operators: Vec<(String, u64, u64, u64, u64)>,
    },
    Failed {
        error: Vec<String>,
    },
}

#[derive(Deserialize)]
struct Stored {
    id: String,
    sources: BTreeMap<String, String>,
    #[serde(default)]
    tables: BTreeMap<String, String>,
    program: Value,
    mode: String,
    #[serde(default)]
    conf: BTreeMap<String, String>,
    steps: Vec<BTreeMap<String, Vec<Vec<Value>>>>,
    #[serde(default)]
    ordered: bool,
    #[serde(default)]
    late: BTreeMap<u64, u64>,
    names: Option<String>,
    beyond: Option<String>,
    refused: Option<Vec<String>>,
    schema: Option<Columns>,
    live: Option<Steps>,
    restart: Option<StoredRestart>,
    /// Spark's restarts forget watermarks: ours must do what its one query did.
    #[serde(default)]
    restart_as_live: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredRestart {
    #[expect(dead_code, reason = "the text says that it is as the other life")]
    AsLive(String),
    Own(Steps),
}

/// All scenarios, in the order of their families.
pub fn scenarios() -> Vec<Scenario> {
    let folder = root().join("scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    let read = |path: std::path::PathBuf| -> Vec<Stored> {
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    files.into_iter().flat_map(read).map(scenario).collect()
}

fn scenario(stored: Stored) -> Scenario {
    let answer = match (stored.refused, stored.names, stored.beyond, stored.schema, stored.live) {
        (Some(classes), Some(names), None, ..) => Answer::Refused { classes, names },
        (Some(_), None, Some(_), ..) => Answer::Beyond,
        (None, None, _, Some(schema), Some(live)) => Answer::Batches {
            schema,
            restart: match stored.restart {
                Some(StoredRestart::Own(steps)) if !stored.restart_as_live => steps,
                _ => live.clone(),
            },
            live,
        },
        _ => panic!("{}: neither refused nor answered, or both", stored.id),
    };
    Scenario {
        id: stored.id,
        sources: stored.sources,
        tables: stored.tables,
        program: stored.program,
        mode: stored.mode,
        conf: stored.conf,
        steps: stored.steps,
        is_ordered: stored.ordered,
        late: stored.late,
        answer,
    }
}
