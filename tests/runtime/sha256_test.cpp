#include "twingrad/runtime/sha256.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twingrad {
namespace {

std::vector<std::uint8_t> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

std::string digest_of(std::string_view message, Sha256::Code code) {
  Sha256 sha256(code);
  sha256.update(bytes_of(message));
  return sha256.hex_digest();
}

/// By the processor's SHA instructions, where it has them, and by plain C++: both have to give the digest expected.
std::string digest_of(std::string_view message) {
  const std::string fastest = digest_of(message, Sha256::Code::fastest);
  const std::string portable = digest_of(message, Sha256::Code::portable);
  return fastest == portable ? fastest : "two digests: " + fastest + " and " + portable;
}

// The messages and digests of NIST's examples for FIPS 180-4.

TEST(Sha256, DigestsTheEmptyMessage) {
  EXPECT_EQ(Sha256().hex_digest(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of(""), Sha256().hex_digest());
}

TEST(Sha256, DigestsAMessageOfOneBlock) {
  EXPECT_EQ(digest_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, DigestsAMessageWhosePaddingNeedsABlockOfItsOwn) {
  const std::string bits_448 = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  EXPECT_EQ(digest_of(bits_448), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, DigestsAMessageOfTwoBlocks) {
  const std::string bits_896 =
      "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
      "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
  EXPECT_EQ(digest_of(bits_896), "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
}

TEST(Sha256, DigestsAMillionTimesTheLetterA) {
  EXPECT_EQ(digest_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheMessageIsCutIntoPieces) {
  std::string message;
  for (int i = 0; i < 300; ++i) message += static_cast<char>(i * 7);
  const std::vector<std::uint8_t> bytes = bytes_of(message);
  const std::string expected = digest_of(message);

  for (std::size_t piece_size = 1; piece_size <= bytes.size(); ++piece_size) {
    Sha256 sha256;
    for (std::size_t start = 0; start < bytes.size(); start += piece_size) {
      sha256.update(std::span(bytes).subspan(start, std::min(piece_size, bytes.size() - start)));
      sha256.update({});  // an empty piece changes nothing
    }
    EXPECT_EQ(sha256.hex_digest(), expected) << "in pieces of " << piece_size;
  }
}

TEST(Sha256, PadsMessagesOfEveryLengthAroundABlock) {
  // Digests of n times the letter a, as coreutils' sha256sum prints them: 55 bytes are the most that leave
  // room for the length in the same block, 64 are a whole block.
  EXPECT_EQ(digest_of(std::string(55, 'a')),
            "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  EXPECT_EQ(digest_of(std::string(56, 'a')),
            "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
  EXPECT_EQ(digest_of(std::string(63, 'a')),
            "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34");
  EXPECT_EQ(digest_of(std::string(64, 'a')),
            "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
  EXPECT_EQ(digest_of(std::string(65, 'a')),
            "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0");
  EXPECT_EQ(digest_of(std::string(119, 'a')),
            "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb");
  EXPECT_EQ(digest_of(std::string(120, 'a')),
            "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c");
}

}  // namespace
}  // namespace twingrad
