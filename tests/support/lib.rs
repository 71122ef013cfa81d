//! What the tests share: clusters, in this process or of child processes.
