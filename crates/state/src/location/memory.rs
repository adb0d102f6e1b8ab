//! `memory://name/path`: stores in memory, shared by name within the process and gone with it. For tests and shells.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use millstream_core::Result;
use object_store::memory::InMemory;

use super::Store;

pub fn named(name: &str) -> Result<Arc<dyn Store>> {
    static STORES: OnceLock<Mutex<HashMap<String, Arc<InMemory>>>> = OnceLock::new();
    let mut stores = STORES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Arc::clone(stores.entry(name.to_owned()).or_default()) as Arc<dyn Store>)
}
