#include "twingrad/io/stored_zip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "../support/archives.h"
#include "../support/refusal.h"

namespace twingrad::stored_zip_test {

using namespace ::testing;
using namespace twingrad::testing;
using namespace std::string_literals;

std::string refusal(const std::string& bytes) {
  return refusal_of([&] { read_stored_zip(bytes, "f.pt"); });
}

Archive two_entries(bool zip64 = true) { return make_archive({{"a", "first"}, {"b", ""}}, zip64); }

/// The bytes with a patch applied at an offset.
std::string patched(std::string bytes, std::size_t offset, const std::string& patch) {
  return bytes.replace(offset, patch.size(), patch);
}

// ---- Reading -------------------------------------------------------------------------------------------

TEST(StoredZip, ReadsNamesAndOffsetsWithAndWithoutZip64) {
  for (const bool zip64 : {false, true}) {
    const std::string bytes = two_entries(zip64).bytes;
    const std::vector<ZipEntry> entries = read_stored_zip(bytes, "f.pt");
    ASSERT_THAT(entries, SizeIs(2));
    EXPECT_EQ(entries[0].name, "a");
    EXPECT_EQ(bytes.substr(entries[0].begin, entries[0].end - entries[0].begin), "first");
    EXPECT_EQ(entries[1].name, "b");
    EXPECT_EQ(entries[1].begin, entries[1].end);
  }
}

TEST(StoredZip, ReadsAnEmptyArchive) {
  EXPECT_THAT(read_stored_zip(make_archive({}, false).bytes, "f.pt"), IsEmpty());
  EXPECT_THAT(read_stored_zip(zip_of({}), "f.pt"), IsEmpty());
}

TEST(StoredZip, IgnoresExtraFieldsForAlignment) {
  const std::string bytes = zip_of({{"a", "first", 0, 0, "FB\x01\0z"s, "FB\x03\0ZZZ"s, 0}});
  const std::vector<ZipEntry> entries = read_stored_zip(bytes, "f.pt");
  EXPECT_EQ(bytes.substr(entries.at(0).begin, 5), "first");
}

TEST(StoredZip, ReadsLargeNumbersFromTheZip64Field) {
  const Archive archive =
      make_archive({{"a", "first", 0, 0, u16(1) + u16(24) + u64(5) + u64(5) + u64(0), "", 0}});
  std::string bytes =
      patched(archive.bytes, archive.directory_entries[0] + 20, u32(0xffffffff) + u32(0xffffffff));
  bytes = patched(bytes, archive.directory_entries[0] + 42, u32(0xffffffff));
  const std::vector<ZipEntry> entries = read_stored_zip(bytes, "f.pt");
  EXPECT_EQ(bytes.substr(entries.at(0).begin, entries[0].end - entries[0].begin), "first");

  EXPECT_THAT(refusal(patched(bytes, bytes.find(u16(1) + u16(24)), u16(2))),
              HasSubstr("entry \"a\": expected a ZIP64 field with its sizes, found none"));
  EXPECT_THAT(refusal(patched(bytes, bytes.find(u16(1) + u16(24)) + 2, u16(23))),
              HasSubstr("expected a ZIP64 field"));
}

// ---- The end records -----------------------------------------------------------------------------------

TEST(StoredZip, RefusesAFileTooShortForAnEndRecord) {
  EXPECT_EQ(
      refusal(""),
      "f.pt: byte 0: expected the end record of a ZIP archive as the last 22 bytes, found a file of 0 bytes; "
      "copy the file again, or save it again");
  EXPECT_THAT(refusal(std::string(21, 'x')), HasSubstr("found a file of 21 bytes"));
}

TEST(StoredZip, RefusesEveryTruncation) {
  const std::string bytes = two_entries().bytes;
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THAT(refusal(bytes.substr(0, length)), HasSubstr("expected")) << length;
  }
}

TEST(StoredZip, RefusesBytesAfterTheEndRecord) {
  EXPECT_THAT(refusal(two_entries().bytes + "x"),
              HasSubstr("expected the end record of a ZIP archive as the last 22 bytes, found other bytes"));
}

TEST(StoredZip, RefusesSeveralPartsAndComments) {
  const Archive archive = two_entries();
  for (const std::size_t field : {4, 6, 8, 20}) {
    EXPECT_THAT(refusal(patched(archive.bytes, archive.end_record + field, u16(7))),
                HasSubstr("expected an archive of one part without a comment"));
  }
}

TEST(StoredZip, RefusesAWrongLocationOfTheDirectory) {
  const Archive archive = two_entries(false);
  for (const std::uint64_t size : {0U, 1U, 91U, 93U, 0x7fffffffU, 0xffffffffU}) {
    EXPECT_THAT(refusal(patched(archive.bytes, archive.end_record + 12, u32(size))),
                HasSubstr("expected a directory immediately before its end record"))
        << size;
  }
  for (const std::uint64_t begin : {0U, 1U, 0x7fffffffU, 0xffffffffU}) {
    EXPECT_THAT(refusal(patched(archive.bytes, archive.end_record + 16, u32(begin))),
                HasSubstr("expected a directory immediately before its end record"))
        << begin;
  }
}

TEST(StoredZip, RefusesEndRecordsThatDisagree) {
  const Archive archive = two_entries();
  const std::size_t large = archive.end_record - 20 - 56;
  for (const std::size_t field : {32, 40, 48}) {
    EXPECT_THAT(refusal(patched(archive.bytes, large + field, u64(1))),
                HasSubstr("expected two end records that agree"))
        << field;
  }
  for (const auto& [field, number] :
       {std::pair(8, u16(1) + u16(1)), std::pair(12, u32(1)), std::pair(16, u32(1))}) {
    EXPECT_THAT(refusal(patched(archive.bytes, archive.end_record + static_cast<std::size_t>(field), number)),
                HasSubstr("expected two end records that agree"))
        << field;
  }
}

TEST(StoredZip, RefusesAMissingZip64Record) {
  const Archive archive = two_entries();
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 55}) {
    EXPECT_THAT(refusal(patched(archive.bytes, archive.end_record - 12, u64(offset))),
                HasSubstr("expected the ZIP64 end record, found"))
        << offset;
  }
}

TEST(StoredZip, RefusesAWrongNumberOfEntries) {
  const Archive archive = two_entries(false);
  const auto counted = [&](std::uint64_t count) {
    return patched(archive.bytes, archive.end_record + 8, u16(count) + u16(count));
  };
  EXPECT_THAT(refusal(counted(1)),
              HasSubstr("expected the end of the directory after its 1 entries, found more"));
  EXPECT_THAT(refusal(counted(3)),
              HasSubstr("expected an entry of the directory, found the end of the file or of its directory"));
  EXPECT_THAT(refusal(counted(0xffff)), HasSubstr("expected an entry of the directory"));
}

// ---- The entries ---------------------------------------------------------------------------------------

TEST(StoredZip, RefusesCompressedAndEncryptedEntries) {
  EXPECT_EQ(refusal(zip_of({{"a\n", "first", 0, 8}})),
            "f.pt: entry \"a\\x0a\": expected a stored entry, as torch.save writes it, found one compressed "
            "by method 8; save it again with torch.save");
  EXPECT_THAT(refusal(zip_of({{"a", "first", 1}})),
              HasSubstr("expected an unencrypted entry, found an encrypted one"));
}

TEST(StoredZip, RefusesAStoredEntryWithDifferentSizes) {
  const Archive archive = two_entries();
  EXPECT_THAT(refusal(patched(archive.bytes, archive.directory_entries[0] + 20, u32(4))),
              HasSubstr("entry \"a\": expected equal packed and unpacked sizes of a stored entry"));
}

TEST(StoredZip, RefusesTwoEntriesWithTheSameName) {
  EXPECT_THAT(refusal(zip_of({{"a", "first"}, {"a", "second"}})),
              HasSubstr("entry \"a\": expected one entry with this name, found two"));
}

TEST(StoredZip, RefusesWrongChecksums) {
  EXPECT_EQ(refusal(zip_of({{"a", "123456789", 0, 0, "", "", 1}})),
            "f.pt: entry \"a\": expected bytes with the checksum cbf43927, found bytes with cbf43926; copy "
            "the file again, or save it again");
  std::string bytes = two_entries().bytes;
  EXPECT_THAT(refusal(patched(bytes, bytes.find("first"), "g")),
              HasSubstr("entry \"a\": expected bytes with the checksum"));
}

TEST(StoredZip, RefusesEntriesOutsideTheFile) {
  const Archive archive = two_entries();
  for (const std::uint64_t header : {std::uint64_t{1}, std::uint64_t{archive.directory_entries[0]},
                                     std::uint64_t{0x7fffffff}, std::uint64_t{0xfffffffe}}) {
    EXPECT_THAT(refusal(patched(archive.bytes, archive.directory_entries[0] + 42, u32(header))),
                HasSubstr("expected the header of an entry, found"))
        << header;
  }
  for (const std::uint64_t size : {100U, 0xfffffffeU}) {
    EXPECT_THAT(refusal(patched(archive.bytes, archive.directory_entries[0] + 20, u32(size) + u32(size))),
                HasSubstr("bytes before the directory, found fewer"))
        << size;
  }
  EXPECT_THAT(refusal(patched(archive.bytes, archive.headers[1] + 28, u16(0xffff))),
              HasSubstr("bytes before the directory, found fewer"));
}

TEST(StoredZip, RefusesAnEntryWithTwoNames) {
  const Archive archive = two_entries();
  EXPECT_THAT(refusal(patched(archive.bytes, archive.headers[0] + 30, "c")),
              HasSubstr("entry \"a\": expected the same name in the header of the entry"));
}

TEST(StoredZip, RefusesOverlappingEntries) {
  // The second entry is inside the content of the first.
  const std::string inner = "PK\x03\x04"s + entry_fields({"b", "inner"}, "") + "b" + "inner";
  const Archive archive = make_archive({{"a", inner}, {"b", "inner"}});
  const std::size_t inside = archive.headers[0] + 31;
  EXPECT_THAT(
      refusal(patched(archive.bytes, archive.directory_entries[1] + 42, u32(inside))),
      StartsWith("f.pt: entry \"b\": expected an entry after the previous one, found one that overlaps it"));
}

TEST(StoredZip, RefusesNamesLongerThanTheDirectory) {
  const Archive archive = two_entries();
  for (const std::size_t field : {28, 30, 32}) {
    EXPECT_THAT(
        refusal(patched(archive.bytes, archive.directory_entries[1] + field, u16(0xffff))),
        HasSubstr("expected an entry of the directory, found the end of the file or of its directory"))
        << field;
  }
}

TEST(StoredZip, SurvivesEveryChangeOfOneByte) {
  const std::string bytes =
      make_archive({{"a", "first", 0, 0, u16(1) + u16(8) + u64(5), "FB\x01\0z"s, 0}, {"b", ""}}).bytes;
  for (std::size_t offset = 0; offset < bytes.size(); ++offset) {
    for (const char byte : {'\0', '\x01', '\x7f', '\xff'}) {
      const std::string damaged = patched(bytes, offset, std::string(1, byte));
      try {
        for (const ZipEntry& entry : read_stored_zip(damaged, "f.pt")) {
          EXPECT_LE(entry.begin, entry.end);
          EXPECT_LE(entry.end, damaged.size());
        }
      } catch (const UserError&) {
      }
    }
  }
}

}  // namespace twingrad::stored_zip_test
