//! The query of the example: hashtags of posts, counted over sliding windows, and the most frequent of each window.

use millstream::functions::{col, count, sliding_window};
use millstream::{DataFrame, Result, lit};

/// Counts the tags of posts. A post is a JSON text, in the column `value`, with `at` (milliseconds since 1970) and `text`.
pub fn tag_counts(posts: &DataFrame, width: &str, slide: &str) -> Result<DataFrame> {
    let tags = posts
        .select_expr(["from_json(value, 'at BIGINT, text STRING') AS post"])?
        .select_expr(["timestamp_millis(post.at) AS at", "explode(regexp_extract_all(lower(post.text), '#([a-z0-9_]+)', 1)) AS tag"])?
        .with_watermark("at", "0 seconds")?;
    Ok(tags.group_by([sliding_window("at", width, slide).alias("window"), col("tag")]).agg([count(lit(1)).alias("n")]))
}

/// The `n` most frequent tags of each window, with their rank. For finished counts, such as those of one micro-batch.
pub fn most_frequent(counts: &DataFrame, n: i32) -> Result<DataFrame> {
    let ranked = counts.select_expr([
        "date_format(window.end, 'HH:mm:ss') AS until",
        "row_number() OVER (PARTITION BY window.end ORDER BY n DESC, tag) AS rank",
        "tag",
        "n",
    ])?;
    Ok(ranked.filter(col("rank").lt_eq(lit(n))).order_by(["until", "rank"]))
}
