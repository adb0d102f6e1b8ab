//! The keyed state store: tables against a model, their memory, their durable form.

mod damage;
mod durable;
mod fixture;
mod job;
mod key_numbers;
mod layout;
mod memory;
mod model;
mod numbers;
mod scan;
mod spill;
mod table;
mod windows;
