# Builds a stranger's project against twingrad and runs its program:
#   cmake -DHOW=installed -DTWINGRAD_BUILD=<build folder> -DFOLDER=<scratch> -DGENERATOR=Ninja -P build_and_run.cmake
#   cmake -DHOW=subdirectory                              -DFOLDER=<scratch> -DGENERATOR=Ninja -P build_and_run.cmake
# `installed` needs a build folder in which everything is built. The cache entries named in PASS_ON are given to the
# stranger's project as -D<entry>.
cmake_minimum_required(VERSION 3.24)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${status}): ${command}")
  endif()
endfunction()

set(definitions)
foreach(entry IN LISTS PASS_ON)
  list(APPEND definitions -D${entry})
endforeach()
if(HOW STREQUAL "installed")
  file(REMOVE_RECURSE ${FOLDER}/prefix) # a header that is no longer installed must not be found
  run(${CMAKE_COMMAND} --install ${TWINGRAD_BUILD} --prefix ${FOLDER}/prefix)
  list(APPEND definitions -DCMAKE_PREFIX_PATH=${FOLDER}/prefix)
endif()
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/${HOW} -B ${FOLDER}/build -G ${GENERATOR} -DCMAKE_BUILD_TYPE=Release ${definitions})
run(${CMAKE_COMMAND} --build ${FOLDER}/build --target swish)
run(${FOLDER}/build/swish)
