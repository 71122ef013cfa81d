// A failed check. Thrown inside the verifier, and turned into its result at the top.
export class Failure extends Error {
  constructor(verdict, message, { check, expected, got, times } = {}) {
    super(message);
    this.verdict = verdict;
    this.check = check;
    this.expected = expected;
    this.got = got;
    this.times = times; // the same as numbers, where times were compared
  }
}

export const invalid = (message, detail) => new Failure("invalid", message, detail);
export const cannotCheck = (message, detail) => new Failure("cannot-check", message, detail);

// Runs one of the checks: a failure inside carries its name.
export function named(check, body) {
  try {
    return body();
  } catch (error) {
    if (error instanceof Failure && error.check === undefined) error.check = check;
    throw error;
  }
}

// The same for a check that consists of several with names of their own.
export function renamed(check, body) {
  try {
    return body();
  } catch (error) {
    if (error instanceof Failure) error.check = check;
    throw error;
  }
}
