<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

namespace local_manireports\cloud;

use local_manireports\api\cloud_job_manager;
use local_manireports\event;

/**
 * What a person can do to a job or a mail. Each is asked of the sidecar, which answers within seconds; only handing back
 * can be done without it, once it has been gone for long enough.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class job_actions {
    /** @var array[] what each action asks of the sidecar: request, its params beside the job, event */
    private const ASKS = [
        'retry' => ['retry', [], event\cloud_job_retried::class],
        'retryall' => ['retry', ['permanent' => true], event\cloud_job_retried::class],
        'suppress' => ['suppress_failed', [], event\cloud_job_suppressed::class],
        'resolvesent' => ['resolve', ['as' => 'sent'], event\cloud_job_resolved::class],
        'resolvefailed' => ['resolve', ['as' => 'failed'], event\cloud_job_resolved::class],
        'pause' => ['pause', ['what' => 'job'], event\cloud_job_paused::class],
        'resume' => ['resume', ['what' => 'job'], event\cloud_job_resumed::class],
        'release' => ['release', [], event\cloud_job_returned::class],
        'cancel' => ['cancel', [], event\cloud_job_cancelled::class],
    ];

    /** @var string[] actions that cannot be undone */
    private const GRAVE = ['cancel', 'release', 'resolvefailed', 'retryall'];

    /** @var string[] states of a mail that can be sent once more */
    public const RESENDABLE = ['sent', 'failed', 'permanently_failed', 'unknown'];

    /**
     * What can be done to a job now, in the order of its buttons.
     *
     * @param \stdClass $job row of {@see cloud_job_manager}
     * @param int[] $states its recipients by state
     * @return string[] names of actions
     */
    public static function possible(\stdClass $job, array $states): array {
        $waiting = array_sum(array_intersect_key($states, array_flip(vocabulary::RECIPIENT_WAITING)));
        $running = $waiting || in_array($job->status, vocabulary::JOB_RUNNING, true);
        $repeating = $job->status === 'manual_retry';
        $failed = $states['failed'] ?? 0;
        $refused = $states['permanently_failed'] ?? 0;
        $unknown = $states['unknown'] ?? 0;
        return array_keys(array_filter([
            'retry' => $failed && !$repeating,
            'suppress' => $refused,
            'resolvesent' => $unknown,
            'resolvefailed' => $unknown,
            'retryall' => $refused && !$repeating && !$running,
            'pause' => $running && $waiting && !$job->paused,
            'resume' => $running && $job->paused,
            'release' => $waiting && !$job->parent_job_id,
            'cancel' => $waiting,
        ]));
    }

    /**
     * Whether an action cannot be undone.
     *
     * @param string $action
     */
    public static function is_grave(string $action): bool {
        return in_array($action, self::GRAVE, true);
    }

    /**
     * Whether an action can be done at this moment.
     *
     * @param string $action
     * @param sidecar $sidecar
     */
    public static function is_open(string $action, sidecar $sidecar): bool {
        return $sidecar->alive() || ($action === 'release' && give_back::possible());
    }

    /**
     * Do something to a job.
     *
     * @param int $jobid
     * @param string $action one of those that are possible
     * @return \stdClass request: to be asked for the answer, 0 if it is done already; text: what to say now
     * @throws \moodle_exception if it cannot be done, with the reason
     */
    public static function perform(int $jobid, string $action): \stdClass {
        $job = cloud_job_manager::read($jobid, access::MANAGE);
        if (!in_array($action, self::possible($job, recipients::states($jobid)), true)) {
            throw new \moodle_exception('cloudnotpossible', 'local_manireports');
        }
        $sidecar = new sidecar();
        if (!self::is_open($action, $sidecar)) {
            throw new \moodle_exception('cloudnosidecar', 'local_manireports');
        }
        [$request, $params, $event] = self::ASKS[$action];
        if (!$sidecar->alive()) {
            $result = give_back::job($jobid);
            self::trigger($event, $job, ['action' => $action, 'request' => 0]);
            $said = ['returned' => (int)$result->returned, 'held' => (int)$result->held];
            return (object)['request' => 0, 'text' => answers::words('release', (object)$said)];
        }
        $key = isset($params['what']) ? 'id' : 'job';
        $asked = self::ask($request, $params + [$key => $jobid]);
        self::trigger($event, $job, ['action' => $action, 'request' => $asked]);
        return (object)['request' => $asked, 'text' => get_string('cloudasked', 'local_manireports')];
    }

    /**
     * Send a mail to its recipient once more.
     *
     * @param int $recipientid
     * @return \stdClass as {@see perform}
     * @throws \moodle_exception if it cannot be done, with the reason
     */
    public static function resend(int $recipientid): \stdClass {
        $recipient = recipients::read($recipientid);
        if (!$recipient) {
            throw new \moodle_exception('cloudnomail', 'local_manireports');
        }
        $job = cloud_job_manager::read((int)$recipient->job_id, access::MANAGE);
        if (!in_array($recipient->status, self::RESENDABLE, true)) {
            throw new \moodle_exception('cloudnotpossible', 'local_manireports');
        }
        if (!(new sidecar())->alive()) {
            throw new \moodle_exception('cloudnosidecar', 'local_manireports');
        }
        $asked = self::ask('resend', ['recipient' => $recipientid]);
        $more = ['action' => 'resend', 'request' => $asked, 'recipient' => $recipientid];
        self::trigger(event\cloud_mail_resent::class, $job, $more, (int)$recipient->userid);
        return (object)['request' => $asked, 'text' => get_string('cloudasked', 'local_manireports')];
    }

    /**
     * Hold all mail of the site, or let it go on.
     *
     * @param bool $pause
     * @return \stdClass as {@see perform}
     * @throws \moodle_exception if it cannot be done, with the reason
     */
    public static function pause_everything(bool $pause): \stdClass {
        require_capability(access::MANAGE, \core\context\system::instance());
        if (!(new sidecar())->alive()) {
            throw new \moodle_exception('cloudnosidecar', 'local_manireports');
        }
        $asked = self::ask($pause ? 'pause' : 'resume', ['what' => 'all']);
        $event = $pause ? event\cloud_sending_paused::class : event\cloud_sending_resumed::class;
        $event::create(['context' => \core\context\system::instance(), 'other' => ['request' => $asked]])->trigger();
        return (object)['request' => $asked, 'text' => get_string('cloudasked', 'local_manireports')];
    }

    /**
     * Leave a request, unless the same one of this user still waits: a second click asks nothing more.
     *
     * @param string $action
     * @param array $params
     * @return int id of the request
     */
    private static function ask(string $action, array $params): int {
        global $DB, $USER;
        $waiting = $DB->get_records(
            'manireports_cloud_requests',
            ['status' => 'new', 'action' => $action, 'created_by' => "user:$USER->id"],
            'id',
            'id, params'
        );
        foreach ($waiting as $request) {
            if (json_decode($request->params ?: '{}', true) == $params) {
                return (int)$request->id;
            }
        }
        return requests::ask($action, $params);
    }

    /**
     * Fire the event of an action.
     *
     * @param string $event its class
     * @param \stdClass $job
     * @param array $other
     * @param int $relateduserid whose mail it is about; 0: nobody's in particular
     */
    private static function trigger(string $event, \stdClass $job, array $other, int $relateduserid = 0): void {
        $event::create(array_filter([
            'objectid' => (int)$job->id,
            'context' => access::context((int)$job->company_id),
            'relateduserid' => $relateduserid ?: null,
            'other' => $other + ['company' => (int)$job->company_id],
        ]))->trigger();
    }
}
