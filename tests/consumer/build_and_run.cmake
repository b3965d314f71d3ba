# Builds projects that use twingrad and runs their programs:
#   cmake -DHOW=installed|subdirectory -DTWINGRAD_BUILD=<build directory> -DFOLDER=<new directory>
#         -DGENERATOR=Ninja -P build_and_run.cmake
# `installed` installs a complete build, TWINGRAD_BUILD. `subdirectory` compiles the gradient checker, which
# is one unit, but not the rest of twingrad. The cache entries in PASS_ON are passed to the projects as
# -D<entry>.
cmake_minimum_required(VERSION 3.24)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${status}): ${command}")
  endif()
endfunction()

function(build_and_run program)
  set(build ${FOLDER}/${program})
  run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/${HOW} -B ${build} -G ${GENERATOR}
      -DCMAKE_BUILD_TYPE=Release -DPROGRAM=${program} ${definitions})
  run(${CMAKE_COMMAND} --build ${build} --target ${program})
  run(${build}/${program})
endfunction()

set(definitions)
foreach(entry IN LISTS PASS_ON)
  list(APPEND definitions -D${entry})
endforeach()
if(HOW STREQUAL "subdirectory")
  build_and_run(swish)
  return()
endif()

file(REMOVE_RECURSE ${FOLDER}/prefix) # remove headers that are no longer installed
run(${CMAKE_COMMAND} --install ${TWINGRAD_BUILD} --prefix ${FOLDER}/prefix)
set(include_directory ${FOLDER}/prefix/include/twingrad/gradcheck)
file(GLOB_RECURSE headers RELATIVE ${include_directory} ${include_directory}/*)
if(NOT headers STREQUAL "gradcheck.h;gtest.h;result.h")
  message(FATAL_ERROR "expected the public headers of gradcheck, found ${headers}")
endif()
list(APPEND definitions -DCMAKE_PREFIX_PATH=${FOLDER}/prefix)
build_and_run(swish)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${FOLDER}/swish --target ignored RESULT_VARIABLE status
                OUTPUT_VARIABLE output ERROR_VARIABLE output)
string(REGEX MATCHALL "ignoring return value" warnings "${output}")
list(LENGTH warnings count)
if(status EQUAL 0 OR NOT count EQUAL 3)
  message(FATAL_ERROR "expected a warning for each of 3 ignored results, found ${count}:\n${output}")
endif()
build_and_run(relu)
