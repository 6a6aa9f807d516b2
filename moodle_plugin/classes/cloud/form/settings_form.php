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

namespace local_manireports\cloud\form;

use local_manireports\cloud\access;
use local_manireports\cloud\company_settings;
use local_manireports\cloud\page;
use local_manireports\cloud\secret_dates;
use local_manireports\cloud\settings_rules;
use local_manireports\cloud\vocabulary;

defined('MOODLE_INTERNAL') || die();

require_once($CFG->libdir . '/formslib.php');

/**
 * How a company's mail is sent. Custom data: company (int).
 *
 * What is empty is inherited; secrets are never shown.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class settings_form extends \moodleform {
    /** @var string[] inherited texts that whoever has no right beyond a company may know */
    private const HARMLESS = ['ses_sender_email', 'sender_name', 'send_window', 'aws_region'];

    /** @var array what holds where the company sets nothing, by column */
    private array $inherited;

    /** @var \stdClass what the company has set itself */
    private \stdClass $own;

    /**
     * The fields.
     */
    protected function definition() {
        $mform = $this->_form;
        $company = $this->company();
        $this->inherited = company_settings::inherited($company);
        $this->own = company_settings::own($company);
        $mform->addElement('hidden', 'company', $company);
        $mform->setType('company', PARAM_INT);

        $mform->addElement('header', 'cloudways', $this->say('cloudsetheader_way'));
        $mform->addElement('advcheckbox', 'enabled', '', $this->say($company ? 'cloudset_enabled' : 'cloudset_enabledzero'));
        $this->choice('provider', fn($value) => vocabulary::provider($value));
        foreach (company_settings::OF_PROVIDER as $provider => $columns) {
            foreach ($columns as $column) {
                $this->of_provider($provider, $column);
            }
        }

        $mform->addElement('header', 'cloudsender', $this->say('cloudsetheader_sender'));
        $this->text('ses_sender_email');
        $this->text('sender_name');
        $this->choice('manager_copies', fn($value) => $this->say("cloudcopies_$value"));

        $mform->addElement('header', 'cloudlimits', $this->say('cloudsetheader_limits'));
        $mform->setExpanded('cloudlimits');
        foreach (array_keys(company_settings::NUMBERS) as $column) {
            $this->text($column, 8);
        }
        $this->text('send_window');
        $this->choice('fallback', fn($value) => $this->say("cloudfallback_$value"));
        $this->add_action_buttons(false, get_string('savechanges'));
    }

    /**
     * A field that only a provider with an account needs.
     *
     * @param string $provider
     * @param string $column
     */
    private function of_provider(string $provider, string $column): void {
        if (!in_array($column, company_settings::columns(), true)) {
            return;
        }
        $mform = $this->_form;
        $others = array_diff(company_settings::CHOICES['provider'], [$provider]);
        if ($this->inherited['provider'] !== $provider) {
            $others[] = '';
        }
        if (!in_array($column, company_settings::SECRETS, true)) {
            $this->text($column);
            $mform->hideIf($column, 'provider', 'in', $others);
            return;
        }
        $attributes = ['autocomplete' => 'new-password', 'placeholder' => $this->secret_state($column), 'size' => 40];
        $mform->addElement('password', $column, $this->say("cloudset_$column"), $attributes);
        $mform->setType($column, PARAM_RAW_TRIMMED);
        $mform->hideIf($column, 'provider', 'in', $others);
        if (!company_settings::is_unset($this->own->$column)) {
            $mform->addElement('advcheckbox', "{$column}_remove", '', $this->say('cloudsecretremove'));
            $mform->hideIf("{$column}_remove", 'provider', 'in', $others);
        }
    }

    /**
     * What is true of a secret.
     *
     * @param string $column
     */
    private function secret_state(string $column): string {
        if (!company_settings::is_unset($this->own->$column)) {
            $time = secret_dates::of($this->company(), $column, $this->own->$column);
            return $time ? $this->say('cloudsecretsince', page::time($time)) : $this->say('cloudsecretset');
        }
        $alone = in_array($column, company_settings::OF_THE_KEY, true)
            && !company_settings::is_unset($this->own->aws_access_key);
        if (!$alone && !company_settings::is_unset($this->inherited[$column])) {
            return $this->say('cloudsecretinherited');
        }
        return $this->say('cloudsecretmissing');
    }

    /**
     * A line of text, empty where the company sets none.
     *
     * @param string $column
     * @param int $size
     */
    private function text(string $column, int $size = 40): void {
        if (!in_array($column, company_settings::columns(), true)) {
            return;
        }
        $attributes = ['size' => $size, 'placeholder' => $this->inherited_text($column)];
        $longest = company_settings::longest($column);
        if ($longest) {
            $attributes['maxlength'] = $longest;
        }
        if (isset(company_settings::NUMBERS[$column])) {
            $attributes['inputmode'] = 'numeric';
            $attributes['size'] = max($size, \core_text::strlen($attributes['placeholder']));
        }
        $this->_form->addElement('text', $column, $this->say("cloudset_$column"), $attributes);
        $this->_form->setType($column, PARAM_RAW_TRIMMED);
        $this->_form->addHelpButton($column, "cloudset_$column", 'local_manireports');
    }

    /**
     * A choice, the first of which is what is inherited.
     *
     * @param string $column
     * @param callable $words makes a label of a value
     */
    private function choice(string $column, callable $words): void {
        $inherited = $this->inherited[$column];
        $default = $inherited === '' ? $this->say('cloudfallback_default') : $words($inherited);
        $options = ['' => $this->default_is($default)];
        foreach (company_settings::CHOICES[$column] as $value) {
            $options[$value] = $words($value);
        }
        $this->_form->addElement('select', $column, $this->say("cloudset_$column"), $options);
        $this->_form->addHelpButton($column, "cloudset_$column", 'local_manireports');
    }

    /**
     * What an empty field means.
     *
     * @param string $column
     */
    private function inherited_text(string $column): string {
        $value = (string)$this->inherited[$column];
        if ($value === '') {
            return '';
        }
        if (isset(company_settings::NUMBERS[$column])) {
            $unlimited = $value === '0';
            return $this->default_is($unlimited ? $this->say('cloudunlimited') : vocabulary::number((int)$value));
        }
        if (access::companies(access::CONFIGURE) !== null && !in_array($column, self::HARMLESS, true)) {
            return $this->say('cloudsecretinherited');
        }
        return $this->default_is($value);
    }

    /**
     * What holds by default, in words.
     *
     * @param string $value
     */
    private function default_is(string $value): string {
        return $this->say($this->company() ? 'cloudsitedefault' : 'clouddefault', $value);
    }

    /**
     * The company whose settings they are.
     */
    private function company(): int {
        return (int)$this->_customdata['company'];
    }

    /**
     * A string of ours.
     *
     * @param string $name
     * @param mixed $a
     */
    private function say(string $name, $a = null): string {
        return get_string($name, 'local_manireports', $a);
    }

    /**
     * Shows what the company has set itself; never a secret.
     */
    public function show_own(): void {
        $shown = array_diff(company_settings::columns(), company_settings::SECRETS);
        $this->set_data(array_intersect_key((array)$this->own, array_flip($shown)));
    }

    /**
     * What is wrong with what was submitted.
     *
     * @param array $data
     * @param array $files
     * @return string[]
     */
    public function validation($data, $files) {
        $everywhere = access::companies(access::CONFIGURE) === null;
        $complaints = settings_rules::complaints($this->company(), $data, $everywhere);
        return parent::validation($data, $files) + $complaints;
    }
}
