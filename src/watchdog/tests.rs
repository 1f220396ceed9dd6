//! Rules as tables, and kernels against naive models.
