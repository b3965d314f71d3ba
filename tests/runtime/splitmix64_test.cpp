#include "twingrad/runtime/splitmix64.h"

#include <gtest/gtest.h>

namespace twingrad::splitmix64_test {

TEST(SplitMix64, MatchesItsReferenceImplementation) {  // prng.di.unimi.it/splitmix64.c, seed 1234567
  SplitMix64 random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317U);
  EXPECT_EQ(random.next(), 3203168211198807973U);
  EXPECT_EQ(random.next(), 9817491932198370423U);
  EXPECT_EQ(SplitMix64::number(1234567, 3), 9817491932198370423U) << "counted from 1";
}

TEST(SplitMix64, StaysBelowTheLimit) {
  SplitMix64 random(1);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(random.below(3), 3U);
  EXPECT_EQ(random.below(1), 0U);
}

}  // namespace twingrad::splitmix64_test
