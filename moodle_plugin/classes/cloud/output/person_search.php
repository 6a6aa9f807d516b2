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

namespace local_manireports\cloud\output;

use local_manireports\cloud\access;
use local_manireports\cloud\page;
use local_manireports\cloud\recipients;

/**
 * Did this person get their mail? Every mail to them, over all jobs, and what still waits.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class person_search implements \renderable, \templatable {
    /** @var int mails on a page */
    public const PERPAGE = 50;

    /** @var int letters that a name must have to be looked for */
    private const SHORTEST = 2;

    /** @var int letters with which an address must begin to be looked for without a user */
    private const SHORTEST_ADDRESS = 3;

    /**
     * The search.
     *
     * @param string $text an address, or part of a name
     * @param int $userid a user, instead; 0: none
     * @param int $below only mails before this recipient; 0: from the newest
     */
    public function __construct(
        /** @var string an address, or part of a name */
        private readonly string $text,
        /** @var int a user, instead; 0: none */
        private readonly int $userid = 0,
        /** @var int only mails before this recipient; 0: from the newest */
        private readonly int $below = 0
    ) {
    }

    /**
     * For local_manireports/cloud_search.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        $users = $this->users();
        $asked = $this->userid || $this->text !== '';
        $short = !$this->userid && $asked && \core_text::strlen($this->text) < self::SHORTEST;
        $data = [
            'action' => (new \moodle_url('/local/manireports/ui/cloud_search.php'))->out(false),
            'text' => $this->userid && $users ? fullname(reset($users)) : $this->text,
            'asked' => $asked && !$short,
            'short' => $short,
        ];
        if (!$data['asked']) {
            return $data;
        }
        $mails = $this->mails($users);
        $more = count($mails) > self::PERPAGE;
        $mails = array_slice($mails, 0, self::PERPAGE);
        $only = count($users) === 1 ? reset($users) : null;
        $older = ['below' => $mails ? (int)end($mails)->id : 0, 'text' => $this->text];
        $older = array_filter($this->userid ? ['userid' => $this->userid] + $older : $older);
        $waiting = $only && !$this->below ? $this->waiting((int)$only->id) : [];
        return $data + [
            'users' => array_values(array_map(fn($user) => self::user($user), $users)),
            'severalusers' => count($users) > 1,
            'user' => $only ? self::user($only) : false,
            'suppressions' => $this->suppressions($users),
            'mails' => mail_rows::export($mails),
            'hasmails' => (bool)$mails,
            'nomails' => !$mails,
            'waiting' => $waiting,
            'haswaiting' => (bool)$waiting,
            'older' => $more ? (new \moodle_url('/local/manireports/ui/cloud_search.php', $older))->out(false) : '',
        ];
    }

    /**
     * Every mail that is found, newest first, for a download.
     *
     * @return \Generator of \stdClass
     */
    public function each(): \Generator {
        $users = $this->users();
        $below = 0;
        do {
            $mails = recipients::to_person(array_keys($users), $this->addresses($users), $below, self::PERPAGE);
            yield from array_values($mails);
            $below = $mails ? (int)end($mails)->id : 0;
        } while (count($mails) === self::PERPAGE);
    }

    /**
     * Whom the search means.
     *
     * @return \stdClass[] by id
     */
    private function users(): array {
        if ($this->userid) {
            $user = recipients::user($this->userid);
            return $user ? [(int)$user->id => $user] : [];
        }
        return \core_text::strlen($this->text) < self::SHORTEST ? [] : recipients::users($this->text);
    }

    /**
     * The mails, one more than a page has if there are more.
     *
     * @param \stdClass[] $users
     * @return \stdClass[]
     */
    private function mails(array $users): array {
        return recipients::to_person(array_keys($users), $this->addresses($users), $this->below, self::PERPAGE + 1);
    }

    /**
     * The addresses that the search means: databases tell capitals apart, or not.
     *
     * @param \stdClass[] $users
     * @return string[]
     */
    private function addresses(array $users): array {
        $addresses = array_filter(array_column($users, 'email'));
        if (!$this->userid && str_contains($this->text, '@')) {
            $addresses[] = $this->text;
        }
        if (!$this->userid && !$users && \core_text::strlen($this->text) >= self::SHORTEST_ADDRESS) {
            array_push($addresses, ...recipients::addresses($this->text));
        }
        return array_values(array_unique([...$addresses, ...array_map([\core_text::class, 'strtolower'], $addresses)]));
    }

    /**
     * A user as templates show them.
     *
     * @param \stdClass $user
     */
    private static function user(\stdClass $user): array {
        return [
            'name' => fullname($user),
            'email' => $user->email,
            'username' => $user->username,
            'url' => (new \moodle_url('/local/manireports/ui/cloud_search.php', ['userid' => $user->id]))->out(false),
            'profile' => (new \moodle_url('/user/profile.php', ['id' => $user->id]))->out(false),
        ];
    }

    /**
     * Why they get no bulk mail.
     *
     * @param \stdClass[] $users
     * @return string[]
     */
    private function suppressions(array $users): array {
        $companies = access::company_names(access::VIEW);
        $lines = [];
        foreach (recipients::suppressions($this->addresses($users)) as $suppression) {
            $key = 'cloudsuppressed_' . clean_param($suppression->reason, PARAM_ALPHA);
            $reason = get_string_manager()->string_exists($key, 'local_manireports')
                ? get_string($key, 'local_manireports')
                : $suppression->reason;
            $company = (int)$suppression->company_id;
            $lines[] = get_string($company ? 'cloudsuppressedcompany' : 'cloudsuppressedsite', 'local_manireports', [
                'email' => str_starts_with($suppression->email, 'sha256:') ? '…' : $suppression->email,
                'reason' => $reason,
                'since' => page::time($suppression->created_at),
                'company' => html_entity_decode($companies[$company] ?? "#$company", ENT_QUOTES),
            ]);
        }
        return $lines;
    }

    /**
     * What still waits in Moodle's own queues.
     *
     * @param int $userid
     * @return array[]
     */
    private function waiting(int $userid): array {
        return array_map(fn($mail) => [
            'subject' => $mail->subject !== '' ? $mail->subject : get_string('cloudnewpassword', 'local_manireports'),
            'due' => page::moment((int)$mail->due > time() ? $mail->due : 0),
        ], recipients::waiting($userid));
    }
}
