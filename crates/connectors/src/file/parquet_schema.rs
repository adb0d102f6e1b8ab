//! The schema of a table of parquet files: that of one file, or with `mergeSchema` all of theirs, as Spark finds it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use millstream_core::{Error, ErrorKind, Options, Result};
use millstream_state::Location;

use super::listing::FoundFile;
use super::parquet_cast::position;
use super::read_parquet::schema_of;

/// Footers read at the same time.
const PARALLEL: usize = 16;

/// The schema of these files; `None` when there is none to read. Spark takes the first file by path.
pub(super) async fn schema_of_files(base: &Location, files: &[FoundFile], options: &Options) -> Result<Option<SchemaRef>> {
    let mut files: Vec<&FoundFile> = files.iter().filter(|file| file.size > 0).collect();
    files.sort_by(|left, right| left.path.cmp(&right.path));
    let ignores_corrupt = options.get_bool("ignoreCorruptFiles")?.unwrap_or(false);
    let reads: Vec<_> = files.into_iter().map(|file| schema_or_nothing(base, file, ignores_corrupt)).collect();
    let mut schemas = futures::stream::iter(reads).buffered(PARALLEL).try_filter_map(async |schema| Ok(schema)).boxed();
    let Some((mut merged, _)) = schemas.try_next().await? else { return Ok(None) };
    if options.get_bool("mergeSchema")?.unwrap_or(false) {
        while let Some((schema, path)) = schemas.try_next().await? {
            let fields =
                merge(merged.fields(), schema.fields(), "").map_err(|error| error.context(format!("merging the schema of '{path}'")))?;
            merged = Arc::new(Schema::new(fields));
        }
    }
    Ok(Some(merged))
}

async fn schema_or_nothing(base: &Location, file: &FoundFile, ignores_corrupt: bool) -> Result<Option<(SchemaRef, String)>> {
    match schema_of(base, file).await {
        Err(error) if ignores_corrupt && error.kind() == ErrorKind::Data => {
            tracing::warn!(file = file.path, %error, "a damaged file does not count for the schema");
            Ok(None)
        }
        schema => Ok(Some((schema?, file.path.clone()))),
    }
}

/// The left fields, then those that only the right has; fields of one name are merged.
fn merge(left: &Fields, right: &Fields, path: &str) -> Result<Fields> {
    let names = || left.iter().map(|field| field.name().as_str());
    let mut fields: Vec<FieldRef> = left.iter().cloned().collect();
    for field in right {
        match position(names(), field.name()).and_then(|idx| fields.get_mut(idx)) {
            Some(known) => *known = merge_field(known, field, path)?,
            None => fields.push(Arc::clone(field)),
        }
    }
    Ok(fields.into())
}

fn merge_field(left: &FieldRef, right: &FieldRef, path: &str) -> Result<FieldRef> {
    let path = if path.is_empty() { left.name().clone() } else { format!("{path}.{}", left.name()) };
    let data_type = match (left.data_type(), right.data_type()) {
        (left, right) if left == right => left.clone(),
        (DataType::Struct(left), DataType::Struct(right)) => DataType::Struct(merge(left, right, &path)?),
        (DataType::List(left), DataType::List(right)) => DataType::List(merge_field(left, right, &path)?),
        (DataType::Map(left, is_sorted), DataType::Map(right, _)) => DataType::Map(merge_entries(left, right, &path)?, *is_sorted),
        (DataType::Decimal128(left, scale), DataType::Decimal128(right, other)) if scale == other => {
            DataType::Decimal128(*left.max(right), *scale)
        }
        (left, right) => {
            return Err(Error::invalid(format!("column '{path}' is {left} in one parquet file and {right} in another"))
                .code("CANNOT_MERGE_SCHEMAS")
                .hint("give a schema, or read the files apart"));
        }
    };
    Ok(Arc::new(Field::new(left.name(), data_type, left.is_nullable() || right.is_nullable())))
}

/// Keys and values by place, whatever the writers called them.
fn merge_entries(left: &FieldRef, right: &FieldRef, path: &str) -> Result<FieldRef> {
    let pair = match (left.data_type(), right.data_type()) {
        (DataType::Struct(left), DataType::Struct(right)) => {
            left.iter().zip(right).map(|(left, right)| merge_field(left, right, path)).collect::<Result<Fields>>()?
        }
        _ => return Err(Error::internal("a map without entries")),
    };
    Ok(Arc::new(left.as_ref().clone().with_data_type(DataType::Struct(pair))))
}
