//! The numbers that Spark 4.3.0 gives for `rand(seed)` and `randn(seed)`, one partition.

use super::*;

#[test]
fn uniform_numbers_are_those_of_spark() {
    let mut random = SparkRandom::new(42);
    let drawn: Vec<f64> = (0..4).map(|_| random.uniform()).collect();
    assert_eq!(drawn, [0.619189370225301, 0.5096018842446481, 0.8325259388871524, 0.26322809041172357]);
    assert_eq!(SparkRandom::new(-7).uniform(), 0.14773215621571878);
    assert_eq!(SparkRandom::new(0).uniform(), 0.7604953758285915);
}

#[test]
fn normal_numbers_are_those_of_spark() {
    let mut random = SparkRandom::new(42);
    let drawn: Vec<f64> = (0..4).map(|_| random.normal()).collect();
    let spark = [2.384479054241165, 0.1920934041293524, 0.7337336533286575, -0.5224480195716871];
    for (ours, spark) in drawn.iter().zip(spark) {
        assert!((ours - spark).abs() < 1e-15, "{ours} {spark}");
    }
    assert_eq!(SparkRandom::new(1).normal(), 1.6845611254444919);
}
