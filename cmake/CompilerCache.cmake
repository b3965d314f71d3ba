# Uses ccache where it is installed. The two settings let it cache units with a precompiled header too.
find_program(TWINGRAD_CCACHE ccache)
if(TWINGRAD_CCACHE AND PROJECT_IS_TOP_LEVEL AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  message(STATUS "ccache: ${TWINGRAD_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${TWINGRAD_CCACHE})
endif()
