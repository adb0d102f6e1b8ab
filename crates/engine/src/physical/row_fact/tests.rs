//! A batch that is run again draws the same; batches, calls and partitions differ.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use millstream_core::{BatchId, QueryId, RunEpoch};

use super::*;
use crate::batch::BatchWatermarks;

fn drawn(fact: RowFact, batch_id: u64, attempt: u32, partition: usize) -> ArrayRef {
    let facts = BatchFacts {
        query_id: QueryId(uuid::Uuid::from_u128(7)),
        epoch: RunEpoch(1),
        batch_id: BatchId(batch_id),
        attempt,
        clock_us: 0,
        watermarks: BatchWatermarks::EPOCH,
    };
    let mut column = Column::new(fact, &facts, partition);
    let (first, second) = (column.next(2), column.next(3));
    arrow::compute::concat(&[&first, &second]).unwrap()
}

#[test]
fn a_batch_that_is_run_again_draws_the_same_numbers() {
    for fact in [RowFact::Rand(Seed::OfBatch(1)), RowFact::Randn(Seed::OfBatch(1)), RowFact::Uuid(Seed::OfBatch(1))] {
        let first = drawn(fact, 3, 0, 1);
        assert_eq!(first.len(), 5);
        assert_eq!(&first, &drawn(fact, 3, 1, 1), "another attempt");
        assert_ne!(&first, &drawn(fact, 4, 0, 1), "another batch");
        assert_ne!(&first, &drawn(fact, 3, 0, 2), "another partition");
    }
    assert_ne!(&drawn(RowFact::Rand(Seed::OfBatch(1)), 3, 0, 0), &drawn(RowFact::Rand(Seed::OfBatch(2)), 3, 0, 0), "another call");
}

#[test]
fn a_given_seed_gives_the_numbers_of_spark_in_every_batch() {
    let column = drawn(RowFact::Rand(Seed::Given(41)), 9, 0, 1);
    assert_eq!(column.as_primitive::<Float64Type>().values()[..2], [0.619189370225301, 0.5096018842446481]);
}

#[test]
fn row_ids_go_on_over_batches_of_a_partition() {
    let column = drawn(RowFact::RowId, 0, 0, 2);
    let first = 2_i64 << 33;
    assert_eq!(column.as_primitive::<Int64Type>().values()[..], [first, first + 1, first + 2, first + 3, first + 4]);
}
