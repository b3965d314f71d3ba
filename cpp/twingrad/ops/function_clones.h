#pragma once

/// Compiles a function once for each of these instruction sets. The best one that the processor supports is
/// selected at start-up, so even a portable x86-64 binary uses AVX2 or AVX-512. Disabled under
/// AddressSanitizer, which is not yet initialized when the selection runs.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define TWINGRAD_FUNCTION_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TWINGRAD_FUNCTION_CLONES
#endif
