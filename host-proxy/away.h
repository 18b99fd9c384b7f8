/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers for a back-end that is away. */
#ifndef HOST_PROXY_AWAY_H
#define HOST_PROXY_AWAY_H

#include "host-proxy/session.h"

/*
 * The answer to a request that the record already knows of. True: *reply is it (which may be
 * request itself). False: only a back-end can tell.
 */
bool away_answer(struct session *s, const struct vu_msg_info *info,
		 const struct vhost_user_msg *request, struct vhost_user_msg *reply);

/* A message of the front-end while the session is AWAY; the record has it. */
void away_request(struct session *s, const struct vu_msg_info *info,
		  const struct vhost_user_msg *msg, bool expects_reply);

/* The back-end has gone: what it has left unanswered is answered here, or deferred. */
void away_take_over(struct session *s);

#endif
