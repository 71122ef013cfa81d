// Calls `load` once. After a failure, the next call retries.
export function once(load) {
  let loading;
  return (...args) =>
    (loading ??= load(...args).catch((error) => {
      loading = undefined;
      throw error;
    }));
}
