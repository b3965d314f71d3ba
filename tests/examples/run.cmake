# Runs an example program, which must end with status 0 and print what matches each of these expressions (the
# test property PASS_REGULAR_EXPRESSION would ignore the status):
#   cmake -DPROGRAM=<file> "-DEXPECTED=<regular expression>;…" -P run.cmake
cmake_minimum_required(VERSION 3.24)

execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE errors)
message("${output}${errors}")
if(NOT status STREQUAL 0)
  message(SEND_ERROR "expected exit status 0, found ${status}")
endif()
foreach(expression IN LISTS EXPECTED)
  if(NOT output MATCHES "${expression}")
    message(SEND_ERROR "expected output that matches \"${expression}\"")
  endif()
endforeach()
