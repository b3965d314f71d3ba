#pragma once

/// Compiles a function once for each of these instruction sets; the best that the processor has is taken at
/// start-up. So a portable x86-64 binary still runs its inner loops on 256 or 512 bits. Not under the
/// sanitizers, which are not yet awake when the choice is made.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define TWINGRAD_FUNCTION_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TWINGRAD_FUNCTION_CLONES
#endif
