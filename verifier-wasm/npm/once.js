// Calls `load` once; after a failure, a later call tries again.
export function once(load) {
  let loading;
  return (...args) =>
    (loading ??= load(...args).catch((error) => {
      loading = undefined;
      throw error;
    }));
}
