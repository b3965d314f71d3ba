# The README shows a source file. Its copy must be the file, character by character:
#   cmake -DREADME=<README.md> -DSOURCE=<file> -P readme_test.cmake
cmake_minimum_required(VERSION 3.24)

file(READ ${README} readme)
file(READ ${SOURCE} source)
string(FIND "${readme}" "\n```cpp\n${source}```\n" place)
if(place EQUAL -1)
  message(FATAL_ERROR "${README}: expected a code block with the content of ${SOURCE}, found none; "
                      "copy the file into the block")
endif()
