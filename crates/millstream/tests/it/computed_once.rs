//! A call that costs much is made once per row, whoever uses its result above.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use millstream::Session;

#[tokio::test(flavor = "multi_thread")]
async fn a_users_function_sees_each_row_once() {
    let session = Session::new().unwrap();
    let n_rows = Arc::new(AtomicUsize::new(0));
    let counting = {
        let n_rows = Arc::clone(&n_rows);
        move |args: &[ColumnarValue]| {
            let [ColumnarValue::Array(array)] = args else { panic!("a column") };
            n_rows.fetch_add(array.len(), Ordering::Relaxed);
            Ok(ColumnarValue::Array(Arc::clone(array)))
        }
    };
    let score = create_udf("score", vec![DataType::Int32], DataType::Int32, Volatility::Immutable, Arc::new(counting));
    session.register_udf("score", score);
    session.sql("CREATE TEMPORARY VIEW t AS SELECT * FROM VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd') AS t(x, y)").await.unwrap();
    for (sql, expected) in [
        ("SELECT s, s * 2 AS twice FROM (SELECT score(x) AS s, y FROM t) WHERE s > 2 AND y <> 'd'", vec!["3|6"]),
        ("SELECT s, count(*) AS n FROM (SELECT score(x) % 2 AS s FROM t) WHERE s < 1 GROUP BY s HAVING s >= 0", vec!["0|2"]),
        ("SELECT a.s FROM (SELECT score(x) AS s FROM t) a JOIN t b ON a.s = b.x WHERE a.s > 3", vec!["4"]),
        ("SELECT named.s FROM (SELECT named_struct('s', score(x)) AS named FROM t) WHERE named.s = 2", vec!["2"]),
    ] {
        n_rows.store(0, Ordering::Relaxed);
        let rows = session.sql(sql).await.unwrap().text_rows().await.unwrap();
        assert_eq!(rows.iter().map(|row| row.join("|")).collect::<Vec<_>>(), expected, "{sql}");
        // A filter on another column may spare it some.
        let n_seen = n_rows.load(Ordering::Relaxed);
        assert!((3..=4).contains(&n_seen), "{n_seen} rows of 4: {sql}");
    }
}
