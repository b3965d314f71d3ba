#include "twingrad/runtime/sha256.h"

#include <algorithm>
#include <bit>

#if defined(__x86_64__) && defined(__GNUC__)
#define TWINGRAD_SHA_INSTRUCTIONS
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace twingrad {
namespace {

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4,
/// section 4.2.2).
constexpr std::array<std::uint32_t, 64> kRoundConstants{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::size_t kBlockSize = 64;
constexpr std::size_t kLengthSize = 8;  // the bit count that ends the last block

std::uint32_t big_endian_word(const std::uint8_t* bytes) {
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
         std::uint32_t{bytes[3]};
}

// The six functions of FIPS 180-4, section 4.1.2, by their names there (sigma large and small).

std::uint32_t choose(std::uint32_t x, std::uint32_t y, std::uint32_t z) { return z ^ (x & (y ^ z)); }
std::uint32_t majority(std::uint32_t x, std::uint32_t y, std::uint32_t z) { return (x & y) | (z & (x | y)); }

std::uint32_t large_sigma_0(std::uint32_t x) { return std::rotr(x, 2) ^ std::rotr(x, 13) ^ std::rotr(x, 22); }
std::uint32_t large_sigma_1(std::uint32_t x) { return std::rotr(x, 6) ^ std::rotr(x, 11) ^ std::rotr(x, 25); }
std::uint32_t small_sigma_0(std::uint32_t x) { return std::rotr(x, 7) ^ std::rotr(x, 18) ^ (x >> 3); }
std::uint32_t small_sigma_1(std::uint32_t x) { return std::rotr(x, 17) ^ std::rotr(x, 19) ^ (x >> 10); }

using State = std::array<std::uint32_t, 8>;

/// FIPS 180-4, section 6.2.2, with the message schedule w kept as a ring of the last 16 words.
void compress_block(State& state, const std::uint8_t* block) {
  std::array<std::uint32_t, 16> w;
  for (std::size_t t = 0; t < 16; ++t) w[t] = big_endian_word(block + 4 * t);

  auto [a, b, c, d, e, f, g, h] = state;
  for (std::size_t t = 0; t < 64; ++t) {
    std::uint32_t& word = w[t % 16];
    if (t >= 16) {
      word += small_sigma_1(w[(t - 2) % 16]) + w[(t - 7) % 16] + small_sigma_0(w[(t - 15) % 16]);
    }
    const std::uint32_t t1 = h + large_sigma_1(e) + choose(e, f, g) + kRoundConstants[t] + word;
    const std::uint32_t t2 = large_sigma_0(a) + majority(a, b, c);
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }

  const std::array<std::uint32_t, 8> change{a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < state.size(); ++i) state[i] += change[i];
}

void compress_portably(State& state, std::span<const std::uint8_t> blocks) {
  for (; !blocks.empty(); blocks = blocks.subspan(kBlockSize)) compress_block(state, blocks.data());
}

#ifdef TWINGRAD_SHA_INSTRUCTIONS

bool has_sha_instructions() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool has_shuffles =
      __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_SSSE3) != 0 && (ecx & bit_SSE4_1) != 0;
  return has_shuffles && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_SHA) != 0;
}

/// The same with the processor's own instructions, four words of the message schedule at a time. The variables lie in
/// two registers, a b e f and c d g h, the first of them in the highest place. Two rounds turn a b e f into c d g h and
/// c d g h into the new a b e f: so the registers change their parts, and after four rounds have them back.
/// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, SHA256MSG1, -MSG2, -RNDS2.
__attribute__((target("sha,sse4.1"))) void compress_by_sha_instructions(
    State& state, std::span<const std::uint8_t> blocks) {
  const auto word = [&](std::size_t i) { return static_cast<int>(state[i]); };
  __m128i abef = _mm_set_epi32(word(0), word(1), word(4), word(5));
  __m128i cdgh = _mm_set_epi32(word(2), word(3), word(6), word(7));
  const __m128i to_big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);

  for (; !blocks.empty(); blocks = blocks.subspan(kBlockSize)) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i w[4];  // a ring of the last 16 words
#pragma GCC unroll 16
    for (std::size_t t = 0; t < 16; ++t) {
      __m128i& words = w[t % 4];
      if (t < 4) {
        const auto* bytes = reinterpret_cast<const __m128i*>(blocks.data() + 16 * t);
        words = _mm_shuffle_epi8(_mm_loadu_si128(bytes), to_big_endian);
      } else {
        const __m128i seven_back = _mm_alignr_epi8(w[(t + 3) % 4], w[(t + 2) % 4], 4);
        words = _mm_add_epi32(_mm_sha256msg1_epu32(words, w[(t + 1) % 4]), seven_back);
        words = _mm_sha256msg2_epu32(words, w[(t + 3) % 4]);
      }
      const auto* constants = reinterpret_cast<const __m128i*>(kRoundConstants.data() + 4 * t);
      const __m128i sums = _mm_add_epi32(words, _mm_loadu_si128(constants));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sums);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_unpackhi_epi64(sums, sums));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }

  alignas(16) std::uint32_t feba[4], hgdc[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(feba), abef);
  _mm_store_si128(reinterpret_cast<__m128i*>(hgdc), cdgh);
  state = {feba[3], feba[2], hgdc[3], hgdc[2], feba[1], feba[0], hgdc[1], hgdc[0]};
}

#endif

}  // namespace

Sha256::Sha256(Code code) : compress_(compress_portably) {
#ifdef TWINGRAD_SHA_INSTRUCTIONS
  static const bool has_instructions = has_sha_instructions();
  if (code == Code::fastest && has_instructions) compress_ = compress_by_sha_instructions;
#else
  (void)code;
#endif
}

void Sha256::update(std::span<const std::uint8_t> bytes) {
  byte_count_ += bytes.size();

  if (filled_ > 0) {
    const std::size_t taken = std::min(bytes.size(), kBlockSize - filled_);
    std::copy_n(bytes.data(), taken, block_.data() + filled_);
    filled_ += taken;
    bytes = bytes.subspan(taken);
    if (filled_ < kBlockSize) return;
    compress_(state_, block_);
    filled_ = 0;
  }

  // Whole blocks are compressed where they lie.
  filled_ = bytes.size() % kBlockSize;
  compress_(state_, bytes.first(bytes.size() - filled_));
  std::copy(bytes.end() - static_cast<std::ptrdiff_t>(filled_), bytes.end(), block_.begin());
}

std::string Sha256::hex_digest() {
  const std::uint64_t bit_count = byte_count_ * 8;

  // The message ends with one set bit, zeros up to 8 bytes before the end of a block, and its length in bits.
  const std::size_t occupied = (filled_ + 1 + kLengthSize) % kBlockSize;
  const std::size_t zeros = (kBlockSize - occupied) % kBlockSize;
  std::array<std::uint8_t, 1 + kBlockSize + kLengthSize> padding{0x80};
  for (std::size_t i = 0; i < kLengthSize; ++i) {
    padding[1 + zeros + i] = static_cast<std::uint8_t>(bit_count >> (56 - 8 * i));
  }
  update(std::span(padding).first(1 + zeros + kLengthSize));

  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(64);
  for (const std::uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) hex += kDigits[(word >> shift) & 0xf];
  }
  return hex;
}

}  // namespace twingrad
