/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe Qualified Names, as far as every layer must know of them (Base 4.5). */
#ifndef NVMETD_SECURITY_NQN_H
#define NVMETD_SECURITY_NQN_H

#define NVMF_NQN_MAX 223 /* bytes, without the NUL */

#endif
