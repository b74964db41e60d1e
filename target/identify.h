/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data structures of Identify that identify_lists.c makes. Each fills req->data, which has
 * NVME_IDENTIFY_SIZE bytes, and completes the request. Main thread. identify.c chooses.
 */
#ifndef NVMETD_TARGET_IDENTIFY_H
#define NVMETD_TARGET_IDENTIFY_H

struct nvmet_req;

void nvmet_identify_ns_list(struct nvmet_req *req);        /* CNS 02h, 07h, 10h, 1Ah */
void nvmet_identify_descriptors(struct nvmet_req *req);    /* 03h */
void nvmet_identify_cs_ns(struct nvmet_req *req);          /* 05h, 1Bh */
void nvmet_identify_cs_ctrl(struct nvmet_req *req);        /* 06h */
void nvmet_identify_independent_ns(struct nvmet_req *req); /* 08h */
void nvmet_identify_ns_ctrl_list(struct nvmet_req *req);   /* 12h */
void nvmet_identify_ctrl_list(struct nvmet_req *req);      /* 13h */
void nvmet_identify_iocs(struct nvmet_req *req);           /* 1Ch */

#endif
