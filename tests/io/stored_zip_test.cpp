#include "twingrad/io/stored_zip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

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

/// Changes to the archive of two entries at an offset from one of its records, and the error of each.
struct Patches {
  std::vector<std::pair<std::size_t, std::string>> changes;
  std::string error;
};

void expect_refused(const Archive& archive, std::size_t record, const std::vector<Patches>& groups) {
  for (const auto& [changes, error] : groups) {
    for (const auto& [offset, bytes] : changes) {
      EXPECT_THAT(refusal(patched(archive.bytes, record + offset, bytes)), HasSubstr(error)) << offset;
    }
  }
}

TEST(StoredZip, RefusesInvalidEndRecords) {
  const std::string location = "expected a directory immediately before its end record";
  const std::string agreement = "expected two end records that agree";
  const Archive small = two_entries(false);
  expect_refused(
      small, small.end_record,
      {{{{12, u32(0)}, {12, u32(1)}, {12, u32(91)}, {12, u32(93)}}, location},
       {{{12, u32(0x7fffffff)}, {12, u32(0xffffffff)}}, location},
       {{{16, u32(0)}, {16, u32(1)}, {16, u32(0x7fffffff)}, {16, u32(0xffffffff)}}, location},
       {{{8, u16(1) + u16(1)}}, "expected the end of the directory after its 1 entries, found more"},
       {{{8, u16(3) + u16(3)}},
        "expected an entry of the directory, found the end of the file or of its directory"},
       {{{8, u16(0xffff) + u16(0xffff)}}, "expected an entry of the directory"}});
  const Archive large = two_entries();
  expect_refused(large, large.end_record,
                 {{{{4, u16(7)}, {6, u16(7)}, {8, u16(7)}, {20, u16(7)}},
                   "expected an archive of one part without a comment"},
                  {{{8, u16(1) + u16(1)}, {12, u32(1)}, {16, u32(1)}}, agreement}});
  expect_refused(large, large.end_record - 12,
                 {{{{0, u64(0)}, {0, u64(1ULL << 40)}, {0, u64(UINT64_MAX)}, {0, u64(UINT64_MAX - 55)}},
                   "expected the ZIP64 end record, found"}});
  expect_refused(large, large.end_record - 20 - 56,
                 {{{{32, u64(1)}, {40, u64(1)}, {48, u64(1)}}, agreement}});
}

// ---- The entries ---------------------------------------------------------------------------------------

TEST(StoredZip, LocatesCompressedEntries) {
  const std::string bytes = zip_of({{"a", "packed", 0, 8, "", "", 1}, {"b", "stored"}});
  const std::vector<ZipEntry> entries = read_stored_zip(bytes, "f.pt");
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(entries[0].method, 8);
  EXPECT_EQ(bytes.substr(entries[0].begin, entries[0].end - entries[0].begin), "packed");
  EXPECT_EQ(entries[1].method, 0);
}

TEST(StoredZip, RefusesEncryptedEntries) {
  EXPECT_THAT(refusal(zip_of({{"a", "first", 1}})),
              HasSubstr("expected an unencrypted entry, found an encrypted one"));
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

TEST(StoredZip, RefusesInvalidEntries) {
  const Archive archive = two_entries();
  const std::uint64_t directory = archive.directory_entries[0];
  expect_refused(
      archive, directory,
      {{{{42, u32(1)}, {42, u32(directory)}, {42, u32(0x7fffffff)}, {42, u32(0xfffffffe)}},
        "expected the header of an entry, found"},
       {{{20, u32(100) + u32(100)}, {20, u32(0xfffffffe) + u32(0xfffffffe)}},
        "bytes before the directory, found fewer"},
       {{{20, u32(4)}}, "entry \"a\": expected equal packed and unpacked sizes of a stored entry"}});
  expect_refused(archive, archive.headers[0],
                 {{{{30, "c"}}, "entry \"a\": expected the same name in the header of the entry"}});
  expect_refused(archive, archive.headers[1],
                 {{{{28, u16(0xffff)}}, "bytes before the directory, found fewer"}});
  expect_refused(archive, archive.directory_entries[1],
                 {{{{28, u16(0xffff)}, {30, u16(0xffff)}, {32, u16(0xffff)}},
                   "expected an entry of the directory, found the end of the file or of its directory"}});
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
