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

/**
 * What the settings page asks of the sidecar, and its answers as the page shows them.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class settings_requests {
    /** @var string[] what may be asked */
    public const ACTIONS = ['test_connection', 'test_mail', 'observe'];

    /** @var int seconds within which the same question of the same person is not asked twice */
    private const SAME = 20;

    /**
     * Ask something, if a sidecar is there that answers: nothing must happen long after the page was left.
     *
     * @param int $company
     * @param string $action one of ACTIONS
     * @return int id of the request; 0: no sidecar is there
     * @throws \invalid_parameter_exception
     */
    public static function ask(int $company, string $action): int {
        global $USER;
        if (!in_array($action, self::ACTIONS, true)) {
            throw new \invalid_parameter_exception('what: ' . $action);
        }
        if (!(new sidecar())->alive()) {
            return 0;
        }
        $params = ['company' => $company] + ($action === 'test_mail' ? ['user' => (int)$USER->id] : []);
        return self::waiting($action, $params) ?: requests::ask($action, $params);
    }

    /**
     * The same request of the same person, just asked and not answered yet.
     *
     * @param string $action
     * @param array $params
     * @return int its id; 0: there is none
     */
    private static function waiting(string $action, array $params): int {
        global $DB, $USER;
        $rows = $DB->get_records_select(
            'manireports_cloud_requests',
            'status = :status AND action = :action AND created_by = :by AND created_at > :since',
            ['status' => 'new', 'action' => $action, 'by' => "user:$USER->id", 'since' => time() - self::SAME],
            'id DESC',
            'id, params',
            0,
            10
        );
        foreach ($rows as $row) {
            if (json_decode((string)$row->params, true) === $params) {
                return (int)$row->id;
            }
        }
        return 0;
    }

    /**
     * An answer for local_manireports/cloud_settings_answer.
     *
     * @param \stdClass $request as {@see requests::read} gives it
     * @return array waiting (bool) and what the template shows
     */
    public static function answer(\stdClass $request): array {
        if ($request->status === 'new') {
            return self::text('info', get_string('cloudasked', 'local_manireports'), true);
        }
        if ($request->status === 'failed' || isset($request->answer->error)) {
            return self::text('danger', (string)($request->answer->error ?? get_string('error')));
        }
        return match ($request->action) {
            'test_connection' => self::steps($request->answer),
            'test_mail' => self::mail($request->answer),
            default => self::observed($request->answer),
        };
    }

    /**
     * The way from the settings to the provider.
     *
     * @param \stdClass $answer
     */
    private static function steps(\stdClass $answer): array {
        $steps = [];
        foreach ((array)($answer->steps ?? []) as $step) {
            $step = (object)$step;
            $name = clean_param((string)($step->name ?? ''), PARAM_ALPHANUMEXT);
            $known = get_string_manager()->string_exists("cloudtest_$name", 'local_manireports');
            $steps[] = [
                'ok' => !empty($step->ok),
                'name' => $known ? get_string("cloudtest_$name", 'local_manireports') : $name,
                'detail' => (string)($step->detail ?? ''),
            ];
        }
        $ok = $steps && !in_array(false, array_column($steps, 'ok'), true);
        return self::text(
            $ok ? 'success' : 'danger',
            get_string($ok ? 'cloudtestok' : 'cloudtestfailed', 'local_manireports')
        ) + ['steps' => $steps, 'hassteps' => (bool)$steps];
    }

    /**
     * The test mail: a job of one mail, whose fate is in the tables.
     *
     * @param \stdClass $answer
     */
    private static function mail(\stdClass $answer): array {
        global $DB;
        $job = (int)($answer->job ?? 0);
        if (!$job) {
            $ok = !empty($answer->ok);
            return self::text($ok ? 'success' : 'danger', (string)($answer->detail ?? ''));
        }
        $mails = $DB->get_records('manireports_cloud_recipients', ['job_id' => $job], 'id', '*', 0, 1);
        $mail = reset($mails);
        $url = (new \moodle_url('/local/manireports/ui/cloud_job.php', ['id' => $job]))->out(false);
        $link = access::companies(access::VIEW) === [] ? [] : ['url' => $url, 'urltext' => "#$job"];
        if (!$mail || in_array($mail->status, vocabulary::RECIPIENT_WAITING, true)) {
            $note = $mail ? trim((string)$mail->error_message) : '';
            return self::text('info', trim(get_string('cloudtestmailwaits', 'local_manireports', $job) . " $note"), true) + $link;
        }
        if ($mail->status === 'sent') {
            return self::text('success', get_string('cloudtestmailsent', 'local_manireports', $mail->email)) + $link;
        }
        $why = trim((string)$mail->error_message) ?: vocabulary::reason((string)$mail->error_code);
        $state = vocabulary::state($mail->status);
        return self::text('danger', get_string('cloudtestmailfailed', 'local_manireports', "$state: $why")) + $link;
    }

    /**
     * What would be claimed now, and what would not.
     *
     * @param \stdClass $answer
     */
    private static function observed(\stdClass $answer): array {
        $groups = [];
        foreach ((array)($answer->groups ?? []) as $group) {
            $group = (object)$group;
            $left = [];
            foreach ((array)($group->left ?? []) as $reason => $number) {
                $left[] = ['number' => vocabulary::number((int)$number), 'why' => self::why((string)$reason)];
            }
            $claimable = (int)($group->claimable ?? 0);
            $groups[] = [
                'type' => vocabulary::type((string)($group->type ?? '')),
                'sample' => (string)($group->sample ?? ''),
                'waiting' => vocabulary::number((int)($group->waiting ?? 0)),
                'claimable' => vocabulary::number($claimable),
                'bulk' => $claimable > 0,
                'mails' => vocabulary::number((int)($group->mails ?? 0)),
                'left' => $left,
            ];
        }
        $blocked = array_values(array_filter((array)($answer->blocked ?? []), 'is_string'));
        $data = ['waiting' => false, 'observed' => true, 'groups' => $groups, 'hasgroups' => (bool)$groups];
        return $data + ['blocked' => $blocked, 'hasblocked' => (bool)$blocked];
    }

    /**
     * Why mail stays with Moodle. Where we have no word the sidecar gave a sentence, or a new reason.
     *
     * @param string $reason
     */
    private static function why(string $reason): string {
        $key = 'cloudleft_' . clean_param($reason, PARAM_ALPHANUMEXT);
        if (preg_match('/^\w+$/', $reason) && get_string_manager()->string_exists($key, 'local_manireports')) {
            return get_string($key, 'local_manireports');
        }
        return str_replace('_', ' ', $reason);
    }

    /**
     * One sentence.
     *
     * @param string $kind info, success or danger
     * @param string $text
     * @param bool $waiting whether more is to come
     */
    private static function text(string $kind, string $text, bool $waiting = false): array {
        return ['waiting' => $waiting, 'kind' => $kind, 'text' => $text, 'hastext' => true];
    }
}
