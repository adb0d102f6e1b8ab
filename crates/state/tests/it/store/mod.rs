//! The keyed state store: tables against a model, their memory, their durable form.

mod memory;
mod model;
mod table;
