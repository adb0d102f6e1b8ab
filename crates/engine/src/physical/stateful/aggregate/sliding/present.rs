//! Which keys are in the window of a sweep: those that have a slice in it.

/// The keys, in no order.
#[derive(Default)]
pub struct Present {
    keys: Vec<u32>,
    /// By key: in how many slices of the window it is.
    n_slices: Vec<u32>,
    /// By key that is present: where it is among `keys`.
    places: Vec<usize>,
}

impl Present {
    pub fn keys(&self) -> &[u32] {
        &self.keys
    }

    pub fn memory_bytes(&self) -> usize {
        (self.keys.capacity() + self.n_slices.capacity()) * size_of::<u32>() + self.places.capacity() * size_of::<usize>()
    }

    /// A slice that the key is in comes into the window.
    pub fn enter(&mut self, key: u32) {
        let n_keys = key as usize + 1;
        if self.n_slices.len() < n_keys {
            self.n_slices.resize(n_keys, 0);
            self.places.resize(n_keys, usize::MAX);
        }
        let (Some(n), Some(place)) = (self.n_slices.get_mut(key as usize), self.places.get_mut(key as usize)) else { return };
        if *n == 0 {
            *place = self.keys.len();
            self.keys.push(key);
        }
        *n += 1;
    }

    /// One of them leaves it. Says whether it was the last one.
    pub fn leave(&mut self, key: u32) -> bool {
        match self.n_slices.get_mut(key as usize) {
            Some(1) => {
                self.forget(key);
                true
            }
            Some(n) => {
                *n = n.saturating_sub(1);
                false
            }
            None => false,
        }
    }

    /// As if the key had no slice in the window.
    pub fn forget(&mut self, key: u32) {
        let (Some(n), Some(place)) = (self.n_slices.get_mut(key as usize), self.places.get(key as usize)) else { return };
        if std::mem::take(n) == 0 {
            return;
        }
        let place = *place;
        self.keys.swap_remove(place);
        if let Some(moved) = self.keys.get(place)
            && let Some(place_of_moved) = self.places.get_mut(*moved as usize)
        {
            *place_of_moved = place;
        }
    }

    /// Forgets all keys, and says which they were.
    pub fn take(&mut self) -> Vec<u32> {
        for key in &self.keys {
            self.n_slices.get_mut(*key as usize).into_iter().for_each(|n| *n = 0);
        }
        std::mem::take(&mut self.keys)
    }
}
