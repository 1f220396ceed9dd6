//! Nothing here but the package: the tests are in `tests/`.
