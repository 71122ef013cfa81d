//! Results of signature functions, for a simulation that runs the same cluster again.
//!
//! The functions are pure: a signature that was valid is valid again. Nothing is remembered unless a thread asks for it with [`within`], and
//! never in a release build.

/// `$result`, which depends on nothing but these parts. `$function` names the computation.
#[cfg(not(debug_assertions))]
macro_rules! remembered {
    ($function:literal, [$($part:expr),+], $result:expr) => {
        $result
    };
}

/// `$result`, which depends on nothing but these parts. `$function` names the computation.
#[cfg(debug_assertions)]
macro_rules! remembered {
    ($function:literal, [$($part:expr),+], $result:expr) => {
        $crate::remembered::result_of($function, || [$(AsRef::<[u8]>::as_ref(&$part).to_vec()),+], || $result)
    };
}

pub(crate) use remembered;

#[cfg(debug_assertions)]
pub(crate) use memory::result_of;
#[cfg(debug_assertions)]
pub use memory::{Memory, within};

/// In a release build: nothing.
#[cfg(not(debug_assertions))]
#[derive(Default)]
pub struct Memory;

/// Runs `run`.
#[cfg(not(debug_assertions))]
pub fn within<T>(_memory: &mut Memory, run: impl FnOnce() -> T) -> T {
    run()
}

#[cfg(debug_assertions)]
mod memory {
    use std::any::Any;
    use std::cell::RefCell;
    use std::collections::HashMap;

    thread_local! {
        static MEMORY: RefCell<Option<Memory>> = const { RefCell::new(None) };
    }

    /// Results by function and parts. It grows without a limit.
    #[derive(Default)]
    pub struct Memory(HashMap<[u8; 32], Box<dyn Any + Send>>);

    /// Runs `run` on this thread with a memory, which it may use and extend.
    pub fn within<T>(memory: &mut Memory, run: impl FnOnce() -> T) -> T {
        MEMORY.set(Some(std::mem::take(memory)));
        let result = run();
        *memory = MEMORY.take().unwrap_or_default();
        result
    }

    pub(crate) fn result_of<T: Clone + Send + 'static, const N: usize>(
        function: &'static str,
        parts: impl FnOnce() -> [Vec<u8>; N],
        compute: impl FnOnce() -> T,
    ) -> T {
        if MEMORY.with_borrow(Option::is_none) {
            return compute();
        }
        let mut hasher = blake3::Hasher::new_derive_key(function);
        for part in parts() {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(&part);
        }
        let key = *hasher.finalize().as_bytes();
        let known = MEMORY.with_borrow(|memory| memory.as_ref()?.0.get(&key)?.downcast_ref::<T>().cloned());
        known.unwrap_or_else(|| {
            let result = compute();
            MEMORY.with_borrow_mut(|memory| memory.as_mut()?.0.insert(key, Box::new(result.clone())));
            result
        })
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::cell::Cell;

    use super::{Memory, within};

    #[test]
    fn results_are_computed_once_within_a_memory_and_always_without() {
        let computed = Cell::new(0);
        let length = |one: &[u8], other: &[u8]| {
            remembered!("test length", [one, other], {
                computed.set(computed.get() + 1);
                (one.len(), other.len())
            })
        };
        let mut memory = Memory::default();
        for _ in 0..2 {
            let all = within(&mut memory, || [length(b"ab", b"c"), length(b"ab", b"c"), length(b"a", b"bc")]);
            assert_eq!(all, [(2, 1), (2, 1), (1, 2)]);
        }
        assert_eq!(computed.get(), 2);
        assert_eq!((length(b"ab", b"c"), computed.get()), ((2, 1), 3));
    }
}
