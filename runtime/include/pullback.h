/* The C interface of a compiled function. Every generated NAME.h carries the same struct under the
 * same guard, so that it stands alone. Valid C89 and C++. */
#ifndef PULLBACK_H
#define PULLBACK_H

#include <stddef.h>

#define PULLBACK_ABI 1

#ifndef PULLBACK_CALL_DEFINED
#define PULLBACK_CALL_DEFINED
#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
__extension__ typedef long long pullback_int64; /* C89 has no name for it */
#else
typedef long long pullback_int64;
#endif
typedef struct pullback_call {
  size_t size; /* sizeof(pullback_call): lets the struct grow */
  void (*parallel_for)(void *pool, void (*body)(void *context, size_t index), void *context,
                       size_t count);
  void *pool;
  const pullback_int64 *dims; /* values of symbolic dimensions; NULL: static */
  const void *params;         /* parameter block; NULL: built in */
  void *stream;               /* device stream */
} pullback_call;
#ifdef __cplusplus
}
#endif
#endif

/* What an entry returns: 0, one of these, or a positive number from the header of the function. */
#define PULLBACK_OK 0
#define PULLBACK_NULL_POINTER (-1)  /* in, out or one of their buffers is NULL where needed */
#define PULLBACK_BAD_WORKSPACE (-2) /* workspace is NULL, or not aligned to 64 bytes */
#define PULLBACK_NO_PARAMS (-3)     /* the function needs call->params */
#define PULLBACK_BAD_CALL (-4)      /* call->size is smaller than the struct of this ABI */
/* Of libraries for GPUs: */
#define PULLBACK_NO_DRIVER (-5)  /* there is no libcuda.so.1 */
#define PULLBACK_OLD_DRIVER (-6) /* the driver is older than CUDA 12 */
#define PULLBACK_MISALIGNED (-7) /* a buffer is not at a multiple of 16 bytes */
/* -1000 - n: the driver's error n (a CUresult) */

#endif
