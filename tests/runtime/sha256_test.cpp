#include "twingrad/runtime/sha256.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twingrad::sha256_test {

std::string digest_of(std::string_view message) {
  Sha256 sha256;
  sha256.update(message);
  return sha256.hex_digest();
}

TEST(Sha256, MatchesNistsExamples) {  // for FIPS 180-4
  EXPECT_EQ(Sha256().hex_digest(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of(""), Sha256().hex_digest());
  EXPECT_EQ(digest_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnTheSizeOfThePieces) {
  std::string message;
  for (int i = 0; i < 300; ++i) message += static_cast<char>(i * 7);
  for (std::size_t piece_size = 1; piece_size <= message.size(); ++piece_size) {
    Sha256 sha256;
    for (std::size_t start = 0; start < message.size(); start += piece_size) {
      const std::string piece = message.substr(start, piece_size);
      sha256.update(std::vector<std::uint8_t>(piece.begin(), piece.end()));
      sha256.update("");
    }
    EXPECT_EQ(sha256.hex_digest(), digest_of(message)) << "in pieces of " << piece_size;
  }
}

}  // namespace twingrad::sha256_test
