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
 * A user, and the addresses by which rows without a user are found to be about the same person.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class person {
    /** @var int */
    private int $userid;

    /** @var string[]|null lower case, each once; null before they were looked for */
    private ?array $addresses = null;

    /**
     * A user, deleted or not.
     *
     * @param int $userid
     */
    public function __construct(int $userid) {
        $this->userid = $userid;
    }

    /**
     * The addresses of this person and of nobody else.
     *
     * Moodle overwrites the address of a deleted user, so those to which mail of ours went count too. An address that
     * another user has as well says nothing about whose a row is.
     *
     * @return string[] lower case
     */
    public function addresses(): array {
        global $DB;
        if ($this->addresses !== null) {
            return $this->addresses;
        }
        $found = [(string)$DB->get_field('user', 'email', ['id' => $this->userid])];
        $mine = ['userid' => $this->userid];
        $found = array_merge(
            $found,
            $DB->get_fieldset_select('manireports_cloud_recipients', 'DISTINCT email', 'userid = :userid', $mine),
            $DB->get_fieldset_select('manireports_cloud_outbox', 'DISTINCT email', 'userid = :userid', $mine)
        );
        $this->addresses = [];
        foreach (array_unique(array_map([\core_text::class, 'strtolower'], $found)) as $address) {
            if ($address !== '' && !$this->is_shared($address)) {
                $this->addresses[] = $address;
                $this->addresses[] = self::as_sent($address);
            }
        }
        $this->addresses = array_values(array_unique($this->addresses));
        return $this->addresses;
    }

    /**
     * Which rows of a table are about this person.
     *
     * @param string $table recipients, outbox or suppressions
     * @return array [$where, $params] with named parameters
     */
    public function rows_of(string $table): array {
        global $DB;
        $byid = $table === 'suppressions' ? '1 = 0' : 'userid = :person';
        $params = $table === 'suppressions' ? [] : ['person' => $this->userid];
        if (!$this->addresses()) {
            return [$byid, $params];
        }
        [$in, $more] = $DB->get_in_or_equal($this->addresses(), SQL_PARAMS_NAMED, 'address');
        $nobody = $table === 'suppressions' ? '' : 'userid = 0 AND ';
        return ["($byid OR ({$nobody}LOWER(email) $in))", $params + $more];
    }

    /**
     * Whether another user has the address too.
     *
     * @param string $address lower case
     */
    private function is_shared(string $address): bool {
        global $DB;
        $same = $DB->sql_equal('email', ':email', false);
        $params = ['email' => $address, 'userid' => $this->userid];
        return $DB->record_exists_select('user', "$same AND id <> :userid AND deleted = 0", $params);
    }

    /**
     * An address with its domain as it goes to the wire.
     *
     * @param string $address
     */
    private static function as_sent(string $address): string {
        $at = strrpos($address, '@');
        if ($at === false || !function_exists('idn_to_ascii')) {
            return $address;
        }
        $domain = idn_to_ascii(substr($address, $at + 1), IDNA_NONTRANSITIONAL_TO_ASCII, INTL_IDNA_VARIANT_UTS46);
        return $domain ? substr($address, 0, $at + 1) . $domain : $address;
    }
}
