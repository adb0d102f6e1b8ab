//! The integration tests of `millstream-sql`: what can be said about the crate from outside.

mod fuzz;
mod gold;
mod spark_form;
