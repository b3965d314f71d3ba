# Builds projects that use twingrad and runs their programs, the examples:
#   cmake -DHOW=installed|subdirectory|fetched|prefix -DTWINGRAD_BUILD=<build directory>
#         -DFOLDER=<new directory> -DGENERATOR=Ninja -P build_and_run.cmake
# `installed` installs a complete build, TWINGRAD_BUILD. `subdirectory` compiles the gradient checker, which
# is one unit, but not the rest of twingrad. `fetched` does the same with FetchContent and a clone of this
# repository. `prefix` configures twingrad with a LibTorch that is not in /usr and contains headers of fmt,
# like a wheel or an archive. The cache entries in PASS_ON are passed to the projects as -D<entry>.
cmake_minimum_required(VERSION 3.24)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${status}): ${command}")
  endif()
endfunction()

# build(<source directory of a project> <name of its build directory> <target>...)
function(build source directory)
  run(${CMAKE_COMMAND} -S ${source} -B ${FOLDER}/${directory} -G ${GENERATOR} -DCMAKE_BUILD_TYPE=Release
      ${definitions})
  run(${CMAKE_COMMAND} --build ${FOLDER}/${directory} --target ${ARGN})
endfunction()

set(definitions)
foreach(entry IN LISTS PASS_ON)
  list(APPEND definitions -D${entry})
endforeach()
get_filename_component(source_directory ${CMAKE_CURRENT_LIST_DIR}/../.. ABSOLUTE)
if(HOW STREQUAL "fetched")
  # A repository of another user is refused unless it is named as safe.
  set(ENV{GIT_CONFIG_COUNT} 1)
  set(ENV{GIT_CONFIG_KEY_0} safe.directory)
  set(ENV{GIT_CONFIG_VALUE_0} *)
  execute_process(COMMAND git -C ${source_directory} rev-parse HEAD RESULT_VARIABLE status
                  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT status EQUAL 0)
    message("skipped: not a git repository")
    return()
  endif()
  file(REMOVE_RECURSE ${FOLDER}/project)
  list(APPEND definitions -DREPOSITORY=file://${source_directory} -DREVISION=${revision})
endif()
if(HOW STREQUAL "subdirectory" OR HOW STREQUAL "fetched")
  build(${CMAKE_CURRENT_LIST_DIR}/${HOW} project check_your_function)
  run(${FOLDER}/project/check_your_function)
  return()
endif()
if(HOW STREQUAL "prefix")
  set(prefix ${FOLDER}/libtorch)
  file(REMOVE_RECURSE ${FOLDER})
  file(MAKE_DIRECTORY ${prefix})
  file(CREATE_LINK /usr/lib ${prefix}/lib SYMBOLIC)
  file(CREATE_LINK /usr/include ${prefix}/include SYMBOLIC)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${source_directory} -B ${FOLDER}/build -G ${GENERATOR}
            -DCMAKE_PREFIX_PATH=${prefix} -DTWINGRAD_BUILD_TESTS=OFF
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  foreach(expected " in ${prefix}\n" "fmt: the headers that LibTorch contains")
    if(NOT status EQUAL 0 OR NOT output MATCHES "${expected}")
      message(FATAL_ERROR "expected ${expected} in the output (status ${status}):\n${output}")
    endif()
  endforeach()
  return()
endif()

file(REMOVE_RECURSE ${FOLDER}/prefix) # remove headers that are no longer installed
run(${CMAKE_COMMAND} --install ${TWINGRAD_BUILD} --prefix ${FOLDER}/prefix)
set(include_directory ${FOLDER}/prefix/include/twingrad/gradcheck)
file(GLOB_RECURSE headers RELATIVE ${include_directory} ${include_directory}/*)
if(NOT headers STREQUAL "gradcheck.h;gtest.h;plugin.h;result.h")
  message(FATAL_ERROR "expected the public headers of gradcheck, found ${headers}")
endif()
list(APPEND definitions -DCMAKE_PREFIX_PATH=${FOLDER}/prefix)
build(${CMAKE_CURRENT_LIST_DIR}/headers headers headers)

set(examples ${FOLDER}/prefix/share/doc/twingrad/examples)
build(${examples} examples two_ways a_layer_of_your_own)
run(${FOLDER}/examples/two_ways)
run(${FOLDER}/examples/a_layer_of_your_own)

list(APPEND definitions -DEXAMPLES=${examples})
build(${CMAKE_CURRENT_LIST_DIR}/installed gradcheck check_your_function gradcheck_plugin custom_functions)
run(${FOLDER}/gradcheck/check_your_function)
run(${FOLDER}/gradcheck/custom_functions)
if(EXISTS ${FOLDER}/prefix/bin/twingrad)
  run(${FOLDER}/prefix/bin/twingrad check --plugin ${FOLDER}/gradcheck/libgradcheck_plugin.so)
endif()
execute_process(COMMAND ${CMAKE_COMMAND} --build ${FOLDER}/gradcheck --target ignored RESULT_VARIABLE status
                OUTPUT_VARIABLE output ERROR_VARIABLE output)
string(REGEX MATCHALL "ignoring return value" warnings "${output}")
list(LENGTH warnings count)
if(status EQUAL 0 OR NOT count EQUAL 3)
  message(FATAL_ERROR "expected a warning for each of 3 ignored results, found ${count}:\n${output}")
endif()
